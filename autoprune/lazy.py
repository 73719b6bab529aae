"""Names of a module that are imported when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__``, so that importing it loads nothing of what it offers.

    Args:
        module: The module's own name.
        places: Of each name the module that defines it; a submodule's is its own.

    Returns:
        A function that gives what a name stands for and keeps it in the module.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = import_module(places[name])
        value = found if places[name] == f"{module}.{name}" else getattr(found, name)
        setattr(sys.modules[module], name, value)
        return value

    return find
