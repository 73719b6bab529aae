"""One typed registry for metrics, allocators, repairs and corpora, open to plug-ins."""

import logging
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from autoprune.errors import AutopruneError, UnknownNameError, reason_of
from autoprune.names import served_by

T = TypeVar("T")

log = logging.getLogger(__name__)


class Registry(Generic[T]):
    """Objects of one kind by name; modules register explicitly at import.

    A plug-in that cannot be loaded is logged once; the others are still loaded.

    Args:
        kind: Singular noun for messages, for example ``"metric"``.
        group: Entry-point group searched for plug-ins, for example ``"autoprune.metrics"``.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T] = {}
        self._plugins_loaded = False
        self._broken: dict[str, str] = {}

    def add(self, name: str, entry: T) -> T:
        """Register ``entry`` under ``name``.

        Raises:
            AutopruneError: If the name is taken by another object.
        """
        if name in self._entries and self._entries[name] is not entry:
            raise AutopruneError(
                f"{self.kind} {name!r} is registered twice "
                f"({self._entries[name]!r} and {entry!r}); names are unique, rename one"
            )
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of :meth:`add`."""
        return lambda entry: self.add(name, entry)

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            UnknownNameError: If no entry has this name; suggests the nearest.
            AutopruneError: If it is the name of a plug-in that could not be loaded.
        """
        if name not in self._entries:
            self._load_plugins()
        if name in self._broken and name not in self._entries:
            raise AutopruneError(self._broken[name])
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries, served_by(name)) from None

    def items(self) -> Iterator[tuple[str, T]]:
        """All entries, plug-ins included, sorted by name."""
        self._load_plugins()
        return iter(sorted(self._entries.items()))

    def __contains__(self, name: str) -> bool:
        self._load_plugins()
        return name in self._entries

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        # Set this first: a plug-in may look up names while it is imported.
        self._plugins_loaded = True
        for point in entry_points(group=self.group):
            try:
                self.add(point.name, point.load())
            except Exception as error:  # third-party modules may raise anything
                self._broken[point.name] = self._reason(point, error)
                log.error("%s", self._broken[point.name])

    def _reason(self, point: EntryPoint, error: Exception) -> str:
        made_by = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        return (
            f"the plug-in {point.name!r} ({self.kind}) of {made_by} is left out: {point.value} "
            f"raised {reason_of(error, named=True)}; fix or uninstall that package"
        )
