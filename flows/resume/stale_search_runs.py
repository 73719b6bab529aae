"""A search's runs that Prefect lists as running although their process has ended."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from autoprune.errors import AutopruneError
from flows.params import checked
from flows.platform.login import login_of
from flows.platform.pools import chosen_pool
from flows.platform.stale_runs import LATEST, mark_crashed
from flows.search.params import SearchParams
from flows.search.runs import at_work
from flows.up.provisioning import ZOMBIE_SECONDS, client_of
from tasks.run_files import RunFiles
from tasks.state import FOLDER_TAG, State, folder_tag

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

# From taking a run to locking its search: Prefect's start, imports, checks of the form.
STARTING_SECONDS = 120.0


def mark_stale_search_runs(state: State, api: str, run_id: str) -> "list[FlowRun]":
    """Mark the search's flow runs whose process is gone as crashed."""
    if at_work(state, run_id):
        raise AutopruneError(
            f"the search {run_id!r} is being worked on by another process; watch it in the Prefect "
            "UI or wait, then run this again"
        )
    with client_of(api, login_of(state, api)) as client:
        found = [run for run in _flow_runs(client, run_id) if _of_this_folder(client, run, state)]
        for flow_run in found:
            left = starting_seconds(state, run_id, flow_run)
            if left > 0:
                raise AutopruneError(
                    f"the run {flow_run.name!r} of the search {run_id!r} may just be starting; "
                    f"watch it in the Prefect UI, or run this again in {left:.0f} s: if it has not "
                    "begun to work by then, it is treated as dead"
                )
        seen = set()
        for flow_run in found:
            mark_crashed(client, flow_run)
            # A night may be working on the steps after its search, which is complete. Its newest
            # search tells: earlier ones belong to attempts that ended.
            done = flow_run.state is not None and flow_run.state.is_completed()
            parent = _parent(client, flow_run)
            if parent is not None and parent.id not in seen:
                seen.add(parent.id)
                if not done:
                    mark_crashed(client, parent)
    return found


def starting_seconds(state: State, run_id: str, flow_run: "FlowRun") -> float:
    """Return how much longer an unfinished flow run may take to reach the search's lock.

    The process that gets the lock writes the settings at once. So settings younger than the run's
    state show that it held the lock, and a free lock then means that it is gone.
    """
    now = flow_run.state
    if now is None or not (now.is_running() or now.is_pending()):
        return 0.0
    settings = RunFiles.of(state, run_id).params
    if settings.exists() and settings.stat().st_mtime >= now.timestamp.timestamp():
        return 0.0
    age = (datetime.now(UTC) - now.timestamp).total_seconds()
    return max(0.0, STARTING_SECONDS - age)


def newest_deployed_run(state: State, api: str, known: "Sequence[FlowRun]") -> "FlowRun | None":
    """Return the newest run of a search that a worker may take: its own, or the night around it."""
    with client_of(api, login_of(state, api)) as client:
        for flow_run in known:
            outer = _parent(client, flow_run) or flow_run
            if outer.deployment_id is not None:
                return client.read_flow_run(outer.id)
    return None


def return_to_worker(state: State, api: str, known: "Sequence[FlowRun]") -> tuple[str, str]:
    """Hand the newest run that a worker may take back to it; see :func:`newest_deployed_run`."""
    from prefect.states import AwaitingRetry

    outer = newest_deployed_run(state, api, known)
    if outer is None:
        raise AutopruneError(
            f"the run {known[0].name!r} was started by a command, not from a deployment, so no "
            "worker takes it; run `autoprune resume` without --submit"
        )
    if outer.state is None or not outer.state.is_final():
        raise AutopruneError(
            f"the run {outer.name!r} is {outer.state_name}, so it is still at work or waits for a "
            "worker, and would run twice; watch it in the Prefect UI. If its process was killed, "
            f"it is marked as crashed within {ZOMBIE_SECONDS} s; then run this again"
        )
    with client_of(api, login_of(state, api)) as client:
        client.set_flow_run_state(outer.id, AwaitingRetry(), force=True)
    return str(outer.name), str(outer.id)


def _flow_runs(client: "SyncPrefectClient", run_id: str) -> "list[FlowRun]":
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    runs = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["search"])),
        sort=FlowRunSort.START_TIME_DESC,
        limit=LATEST,
    )
    return [run for run in runs if _searches(run.parameters.get("params"), run_id)]


def _of_this_folder(client: "SyncPrefectClient", flow_run: "FlowRun", state: State) -> bool:
    """Return whether a run is this project's: others on the server may use the same search name."""
    outer = _parent(client, flow_run) or flow_run
    if outer.work_pool_name is not None:
        return bool(outer.work_pool_name == chosen_pool(state))
    marks = {tag for tag in outer.tags if tag.startswith(FOLDER_TAG)}
    return not marks or folder_tag(state) in marks


def _searches(params: Any, run_id: str) -> bool:
    if not isinstance(params, dict):
        return False
    with suppress(AutopruneError):
        return bool(checked(SearchParams, params).run_id() == run_id)
    return False


def _parent(client: "SyncPrefectClient", flow_run: "FlowRun") -> "FlowRun | None":
    if flow_run.parent_task_run_id is None:
        return None
    outer: UUID | None = client.read_task_run(flow_run.parent_task_run_id).flow_run_id
    return None if outer is None else client.read_flow_run(outer)
