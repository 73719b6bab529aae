"""Library calls as named, timed task runs in Prefect."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.policies import short_paths
from tasks.state import without_login

R = TypeVar("R")


def recorded(kind: str, title: str, work: Callable[[], R]) -> R:
    """Do ``work``, as a task run of its own inside a flow run.

    The task is made around the closure, so Prefect sees neither arguments to hash nor a result to
    keep: models, tensors and objects with locks may go in and come out. It does hold results in
    memory until the flow run ends, so return figures rather than tensors.

    Args:
        kind: Name of the task as the UI groups it, for example ``measure``.
        title: Name of the run; paths in it are shown by their last part, logins not at all.
        work: Called once, with no arguments.

    Returns:
        What ``work`` returns; what it raises is raised.
    """
    if FlowRunContext.get() is None:
        return work()
    shown = short_paths(without_login(title))

    # As a function: Prefect reads a string as a template, and braces in it as parameters.
    def run_name() -> str:
        return shown

    made = task(
        name=kind,
        task_run_name=cast(Any, run_name),
        cache_policy=NO_CACHE,
        persist_result=False,
    )(work)
    return made()
