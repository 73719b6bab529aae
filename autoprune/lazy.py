"""Module attributes that are imported on first use (PEP 562), and imports that take less time."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@contextmanager
def uncollected() -> Iterator[None]:
    """Import in the body, or in the function it decorates, without garbage collections.

    They take about a fifth of the time of an import, and free next to nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def lazily(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Build a module's ``__getattr__``, so that importing the module loads none of its names."""

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        with uncollected():
            found = import_module(places[name])
        value = found if places[name] == f"{module}.{name}" else getattr(found, name)
        setattr(sys.modules[module], name, value)
        return value

    return find


def require(*modules: str) -> None:
    """Check that packages that are imported later, or by other processes, are installed."""
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
