"""Runs and task runs that Prefect lists as running although their process has ended."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tasks.open_runs import left_open, process_is_gone, process_mark
from tasks.state import State, folder_tag

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

GONE = (
    "its process is gone; `autoprune resume` (a night: with --submit) goes on, finished work is "
    "not done again"
)
# Runs read at once; the wanted one is among the latest.
LATEST = 200
PROCESS_TAG = "process:"
# Task states reach the server as events, some seconds after the state of their run.
LATE_SECONDS = 60.0


def process_tag() -> str:
    """Return the tag of flow runs that this process works on: machine, pid, start time."""
    return f"{PROCESS_TAG}{process_mark()}"


def is_stale(tags: Iterable[str]) -> bool:
    """Return whether the tagged process is known to have ended; False if nothing is known."""
    mark = next((tag for tag in tags if tag.startswith(PROCESS_TAG)), "")
    return process_is_gone(mark.removeprefix(PROCESS_TAG))


def mark_stale_runs(client: "SyncPrefectClient", state: State) -> list[str]:
    """Mark as crashed the runs of this folder's killed commands, and their abandoned tasks.

    A worker's run has a heartbeat; an automation of `autoprune up` notices when it stops. MLflow
    gets the same of all killed processes; importing its client is left out where none was.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType

    active = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    asked = FlowRunFilter(
        state=FlowRunFilterState(type=active), tags=FlowRunFilterTags(all_=[folder_tag(state)])
    )
    found = client.read_flow_runs(flow_run_filter=asked, limit=LATEST)
    stale = [run for run in found if is_stale(run.tags)]
    for run in stale:
        mark_crashed(client, run)
    _mark_abandoned_tasks(client)
    end_left_open(state)
    return [run.name for run in stale]


def mark_crashed(client: "SyncPrefectClient", flow_run: "FlowRun") -> None:
    """Mark an unfinished flow run, and its running tasks, as crashed."""
    from prefect.states import Crashed

    running = flow_run.state is not None and (
        flow_run.state.is_running() or flow_run.state.is_pending()
    )
    if running:
        client.set_flow_run_state(flow_run.id, Crashed(message=GONE), force=True)
        for task_run in _running_tasks(client, flow_run.id):
            client.set_task_run_state(task_run, Crashed(message=GONE), force=True)


def _running_tasks(client: "SyncPrefectClient", flow_run_id: UUID) -> list[UUID]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    asked = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    found = client.read_task_runs(flow_run_filter=asked, limit=LATEST)
    return [one.id for one in found if one.state is not None and one.state.is_running()]


def _mark_abandoned_tasks(client: "SyncPrefectClient") -> None:
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    running = TaskRunFilterStateType(any_=[StateType.RUNNING])
    tasks = client.read_task_runs(
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=running)), limit=LATEST
    )
    ids = list({task.flow_run_id for task in tasks if task.flow_run_id is not None})
    if not ids:
        return
    asked = FlowRunFilter(id=FlowRunFilterId(any_=ids))
    runs = {run.id: run for run in client.read_flow_runs(flow_run_filter=asked, limit=LATEST)}
    for task in tasks:
        run = runs.get(task.flow_run_id) if task.flow_run_id is not None else None
        if run is not None and is_abandoned(task, run):
            message = "its run went on or ended without it"
            client.set_task_run_state(task.id, Crashed(message=message), force=True)


def is_abandoned(task: "TaskRun", run: "FlowRun") -> bool:
    """Return whether a running task belongs to an earlier try, or to a run that ended long ago."""
    if run.state is None:
        return False
    if run.state.is_final():
        return (datetime.now(UTC) - run.state.timestamp).total_seconds() > LATE_SECONDS
    return task.flow_run_run_count < run.run_count


def end_left_open(state: State) -> None:
    """End the runs of MLflow that killed processes left running."""
    if left_open(state):
        # Takes seconds, and is seldom needed.
        from tasks.mirror import end_killed

        end_killed(state)
