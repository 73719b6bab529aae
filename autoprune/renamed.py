"""Keyword arguments under an earlier name: refused, with the name of today."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from autoprune.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that keywords of version 0.2 are answered with those of today."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            wrong = {name: names[name] for name in names if name in kwargs}
            if wrong:
                now = [f"{earlier} is now {name}" for earlier, name in wrong.items()]
                written = [f"{name}={kwargs[earlier]!r}" for earlier, name in wrong.items()]
                raise UsageError(f"{', '.join(now)}; write {', '.join(written)}")
            return function(*args, **kwargs)

        return call

    return decorate
