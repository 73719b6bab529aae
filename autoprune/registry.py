"""One typed registry for metrics, allocators, solvers and corpora, open to plug-ins."""

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from autoprune.errors import AutopruneError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects of one kind; modules register explicitly at import.

    Args:
        kind: Singular noun for messages, for example ``"metric"``.
        group: Entry-point group searched for plug-ins, for example ``"autoprune.metrics"``.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T] = {}
        self._plugins_loaded = False

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
        """
        if name not in self._entries:
            self._load_plugins()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

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
        self._plugins_loaded = True
        for point in entry_points(group=self.group):
            self.add(point.name, point.load())
