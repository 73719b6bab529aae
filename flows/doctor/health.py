"""The checks of ``autoprune doctor`` on the servers, the worker and the slots."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.doctor.finding import Finding
from flows.platform import services
from flows.platform.login import AUTH_VARIABLE, login_of, mlflow_login_of
from flows.platform.pools import POOL, chosen_pool
from flows.platform.processes import register_of
from flows.platform.stale_runs import mark_stale_runs
from flows.up.provisioning import LIMITS, ZOMBIE_RULE, client_of
from tasks.slots import local_slots, unheld
from tasks.state import State, without_login

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

UP = "autoprune up"
# A worker sends the server a sign of life every half minute.
SILENT_SECONDS = 120.0


def platform_findings(state: State) -> list[Finding]:
    """Check the servers, the worker, killed runs and held slots."""
    api, prefect = _prefect(state)
    found = [prefect, _mlflow(state)]
    if api and prefect.ok:
        with client_of(api, login_of(state, api)) as client:
            found += _stale_runs(client, state)
            found += [*_worker(client, chosen_pool(state)), *_slots(client), _rule(client)]
    return [*found, *_lost(state)]


def _stale_runs(client: "SyncPrefectClient", state: State) -> Iterator[Finding]:
    """Report runs of killed commands, which this check marks as crashed."""
    gone = mark_stale_runs(client, state)
    if gone:
        yield Finding("killed runs", True, f"marked as crashed now: {', '.join(gone)}")


def _lost(state: State) -> Iterator[Finding]:
    """Report slots of killed runs in this folder's own database, even if its server is down."""
    lost = [(slots, unheld(state, slots)) for slots in local_slots(state)]
    words = ", ".join(f"{slots.name} {count} of {slots.limit}" for slots, count in lost if count)
    if words:
        fix = "run any command that prunes or measures: it gives the slot back within seconds"
        yield Finding("lost slots", False, f"held by runs that were killed: {words}", fix)


def _prefect(state: State) -> tuple[str, Finding]:
    own = os.environ.get("PREFECT_API_URL", "")
    known = register_of(state).read().get("prefect")
    api = own or (known.url if known else "")
    if not api:
        return "", Finding("prefect", True, f"no server; commands run alone; `{UP}` starts one")
    page = without_login(services.prefect_page(api))
    if services.prefect_answers(api, login_of(state, api)):
        return api, Finding("prefect", True, f"server answers at {page}")
    if services.prefect_is_at(api):
        fix = f"set {AUTH_VARIABLE} to its login" if own else f"autoprune down, then {UP}"
        return api, Finding("prefect", False, f"server at {page} refuses the login", fix)
    fix = "start it or unset PREFECT_API_URL" if own else f"autoprune down, then {UP}"
    return api, Finding("prefect", False, f"server at {page} gives no answer", fix)


def _mlflow(state: State) -> Finding:
    own = state.tracking_uri if state.tracking_uri.startswith("http") else ""
    known = register_of(state).read().get("mlflow")
    url = own or (known.url if known else "")
    if not url:
        return Finding("mlflow", True, f"no server; records go to the file; `{UP}` shows them")
    if services.mlflow_answers(url, mlflow_login_of(state, url)):
        return Finding("mlflow", True, f"server answers at {without_login(url)}")
    fix = "start it or unset MLFLOW_TRACKING_URI" if own else f"autoprune down, then {UP}"
    return Finding("mlflow", False, f"server at {without_login(url)} gives no answer", fix)


def _worker(client: "SyncPrefectClient", name: str) -> Iterator[Finding]:
    from prefect.exceptions import ObjectNotFound

    fix = UP if name == POOL else f"{UP} --pool {name}"
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        yield Finding("worker", False, f"the server has no work pool {name!r}", fix)
        return
    if pool.is_paused:
        resume = f"prefect work-pool resume {name}"
        yield Finding("worker", False, f"work pool {name!r} is paused", resume)
        return
    now = datetime.now(UTC)
    seen = [
        worker.name
        for worker in client.read_workers_for_work_pool(name)
        if worker.last_heartbeat_time is not None
        and (now - worker.last_heartbeat_time).total_seconds() < SILENT_SECONDS
    ]
    if seen:
        yield Finding("worker", True, f"{', '.join(sorted(seen))} takes runs of pool {name!r}")
    else:
        yield Finding("worker", False, f"no worker takes runs of pool {name!r}", fix)


def _slots(client: "SyncPrefectClient") -> Iterator[Finding]:
    limits = client.read_global_concurrency_limits(limit=200)
    missing = sorted(set(LIMITS) - {limit.name for limit in limits})
    if missing:
        yield Finding("limits", False, f"missing: {', '.join(missing)}", UP)
    running = _running(client)
    held = [limit for limit in limits if limit.active_slots]
    words = ", ".join(f"{limit.name} {limit.active_slots} of {limit.limit}" for limit in held)
    state = f"held: {words or 'none'}; runs at work: {running}"
    if held and not running:
        clear = "; ".join(f"prefect gcl update {limit.name} --active-slots 0" for limit in held)
        fix = f"wait a minute for the leases to end; if they do not: {clear}"
        yield Finding("slots", False, state, fix)
    else:
        yield Finding("slots", True, state)


def _running(client: "SyncPrefectClient") -> int:
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    active = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    asked = FlowRunFilter(state=FlowRunFilterState(type=active))
    return len(client.read_flow_runs(flow_run_filter=asked, limit=200))


def _rule(client: "SyncPrefectClient") -> Finding:
    rules = client.read_automations_by_name(ZOMBIE_RULE)
    if rules and rules[0].enabled:
        return Finding("zombies", True, "killed runs are marked as crashed by an automation")
    what = "switched off" if rules else "missing"
    fix = "switch it on under Automations in the Prefect UI" if rules else UP
    return Finding("zombies", False, f"the automation {ZOMBIE_RULE!r} is {what}", fix)
