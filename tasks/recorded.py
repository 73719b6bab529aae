"""Library calls as named, timed task runs in Prefect."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.state import without_login

P = ParamSpec("P")
R = TypeVar("R")


def recorded(kind: str, title: str, work: Callable[P, R]) -> Callable[P, R]:
    """Make a call of ``work`` its own task run inside a flow run; outside one, it stays as it is.

    The task wraps a closure, so Prefect sees neither arguments to hash nor a result to persist:
    models, tensors and objects with locks may go in and come out. Prefect does hold results in
    memory until the flow run ends, so return figures rather than tensors.
    """
    if FlowRunContext.get() is None:
        return work
    shown = short_paths(without_login(title))

    # A function, because Prefect reads a string as a template, and braces in it as parameters.
    def run_name() -> str:
        return shown

    as_task = task(
        name=kind,
        task_run_name=cast(Any, run_name),
        cache_policy=NO_CACHE,
        persist_result=False,
    )

    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return as_task(lambda: work(*args, **kwargs))()

    return called


def task_run(name: str, run_name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that every call is :func:`recorded`."""

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(fn)

        @functools.wraps(fn)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            shown = {key: _shown(value) for key, value in given.arguments.items()}
            title = (run_name or name).format(**shown)
            return recorded(name, title, fn)(*args, **kwargs)

        return called

    return decorate


def _shown(value: Any) -> Any:
    """Return a list of names as a person writes it."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def short_paths(text: str) -> str:
    """Reduce each path of this machine in a text to its last part; references stay as they are.

    ``open /data/models/tiny`` gives ``open tiny``; ``package:module/file.gguf``, a hub id and a URL
    are not paths of a machine.
    """
    return re.sub(
        r"(?<![^\s,'\"(=])(?:~|\.{1,2})?/(?:[^\s,'\"()/]+/)*([^\s,'\"()/]+)/?", r"\1", text
    )
