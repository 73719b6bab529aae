"""How library calls become Prefect tasks: plain values in and out, no caching, readable names.

Prefect hashes, walks and may pickle what it is given, so a model or a tensor as an argument costs
seconds and pins memory. Here every task takes and returns JSON values only, and is checked.
"""

import functools
import json
import re
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.state import without_login

P = ParamSpec("P")
R = TypeVar("R")

# Far above any record, far below any tensor.
LARGEST_VALUE = 4 << 20


class TaskBoundaryError(TypeError):
    """A value crossed a task border that is not a small JSON value: a bug in the caller."""


class Step(Generic[P, R]):
    """A named unit of work: a Prefect task inside a flow run, a plain function elsewhere.

    Args:
        fn: The work.
        name: Task name as the UI groups it.
        run_name: Template of the run's name, over the function's parameters; paths in it are
            shown by their last part.
        retries: Further tries; only for work that fails for outside reasons.
    """

    def __init__(self, fn: Callable[P, R], *, name: str, run_name: str, retries: int) -> None:
        self.fn = fn
        self.name = name
        functools.update_wrapper(self, fn)

        @functools.wraps(fn)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            return self._checked(*args, **kwargs)

        def shown(parameters: dict[str, Any]) -> str:
            return short_paths(without_login(run_name.format(**parameters)))

        decorate = prefect_task(
            name=name,
            # Prefect's own protocol for this has a method that no plain function has.
            task_run_name=cast(Any, shown),
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=retries,
            retry_delay_seconds=2,
        )
        self._task = decorate(guarded)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step, recorded by Prefect when a flow run is active."""
        if FlowRunContext.get() is None:
            return self._checked(*args, **kwargs)
        result: R = self._task(*args, **kwargs)
        return result

    def _checked(self, *args: P.args, **kwargs: P.kwargs) -> R:
        for value in (*args, *kwargs.values()):
            require_plain(value, self.name)
        result = self.fn(*args, **kwargs)
        require_plain(result, self.name)
        return result


def step(
    name: str, run_name: str | None = None, *, retries: int = 0
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Decorator form of :class:`Step`; ``run_name`` defaults to ``name``."""
    return lambda fn: Step(fn, name=name, run_name=run_name or name, retries=retries)


def short_paths(text: str) -> str:
    """The text with each path of this machine as its last part; a reference stays as it is.

    ``open /data/models/tiny`` gives ``open tiny``; ``package:module/file.gguf``, a hub id and a URL
    are no paths of a machine.
    """
    return re.sub(
        r"(?<![^\s,'\"(=])(?:~|\.{1,2})?/(?:[^\s,'\"()/]+/)*([^\s,'\"()/]+)/?", r"\1", text
    )


def require_plain(value: Any, name: str) -> None:
    """Check that ``value`` is a small JSON value.

    Raises:
        TaskBoundaryError: Names the task and the type; pass an id or a path instead.
    """
    try:
        size = len(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise TaskBoundaryError(
            f"task {name!r} was given or returned a {type(value).__name__}, which is not plain "
            "JSON; only paths, ids and JSON values cross task borders; pass the workbench's id"
        ) from error
    if size > LARGEST_VALUE:
        raise TaskBoundaryError(
            f"task {name!r} was given or returned {size} bytes of JSON, more than {LARGEST_VALUE}; "
            "write the data to a file and pass its path"
        )
