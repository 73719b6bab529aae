"""Modules that are loaded when something of them is first used, if ever."""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class Postponed(MetaPathFinder):
    """Finds some modules and leaves them empty until an attribute is missing.

    ``importlib.util.LazyLoader`` also loads at a look at ``__spec__``, as each import takes.

    Args:
        names: Full names of the modules.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, with a loader that waits; None for all other modules."""
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Waiting(spec.loader)
        return spec

    def install(self) -> None:
        """Ask this finder before all others from now on."""
        sys.meta_path.insert(0, self)


class _Waiting(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def missing(name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            del module.__dict__["__getattr__"]
            self._loader.exec_module(module)
            return getattr(module, name)

        module.__dict__["__getattr__"] = missing
