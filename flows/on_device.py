"""Makes a flow compute on the device that its parameters name, however it is started."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tasks.switches import computing_on

P = ParamSpec("P")
R = TypeVar("R")


def on_its_device(body: Callable[P, R]) -> Callable[P, R]:
    """Decorate a flow's function so that it computes on the ``device`` of its ``params``."""
    signature = inspect.signature(body)

    @functools.wraps(body)
    def placed(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        with computing_on(given.arguments["params"].device):
            return body(*args, **kwargs)

    return placed
