"""``autoprune resume``: go on with a search that was interrupted."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autoprune.errors import PrerequisiteError, UsageError
from flows import resume
from flows.engine import open_engine
from flows.platform.api_server import running_api, set_prefect_environment
from flows.resume.params import ResumeParams
from flows.resume.stale_search_runs import (
    mark_stale_search_runs,
    newest_deployed_run,
    return_to_worker,
)
from flows.search.command import search_with
from flows.search.runs import going_on
from flows.terminal.output import emit, pairs, tell
from tasks.state import State, without_login

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun


def run(args: argparse.Namespace, asked: ResumeParams) -> int:
    """Correct the record, then resume the search here or through the worker."""
    state, run_id = State.open(), str(asked.run)
    params = going_on(state, run_id, args.device)
    set_prefect_environment(state, verbose=args.verbose)
    api = running_api(state)
    night = None
    if api:
        known = mark_stale_search_runs(state, api, run_id)
        lost = [one for one in known if one.state is not None and one.state.is_running()]
        if lost:
            tell(f"marked as crashed: {', '.join(one.name for one in lost)}")
        if args.submit:
            return _submit(args, state, api, run_id, known)
        night = _ended_night(state, api, known)
    elif args.submit:
        return _nobody()
    if asked.until is not None:
        return _until(args, asked)
    code = search_with(args, params)
    if night is not None:
        tell(
            f"this was the search of {night.name} alone: its winner is not evaluated and the gate "
            f"is not asked\nnext  autoprune resume {run_id} --submit"
        )
    return code


def _until(args: argparse.Namespace, asked: ResumeParams) -> int:
    with open_engine(args) as engine:
        record = engine.call(resume.resume, asked)
    left = ", ".join(f"{count} of {stage}" for stage, count in record["open"].items())
    emit(
        args,
        record,
        pairs(
            ("done", f"{record['until']} of {record['run']}, {record['steps']} steps"),
            ("open", left or "nothing"),
            ("next", record["next"]),
        ),
    )
    return 0


def _ended_night(state: State, api: str, known: "Sequence[FlowRun]") -> "FlowRun | None":
    """Return the night that this search is a part of, if it ended before it was complete."""
    found = newest_deployed_run(state, api, known)
    if found is None or found.state is None or found.id in {one.id for one in known}:
        return None
    return found if found.state.is_final() and not found.state.is_completed() else None


def _submit(
    args: argparse.Namespace, state: State, api: str, run_id: str, known: "Sequence[FlowRun]"
) -> int:
    if not known:
        raise UsageError(
            f"Prefect knows no run of the search {run_id!r}; run `autoprune resume {run_id}` "
            "without --submit"
        )
    name, number = return_to_worker(state, api, known)
    page = f"{without_login(api).removesuffix('/api')}/v2/runs/flow-run/{number}"
    emit(
        args,
        {"run": run_id, "flow_run": number, "page": page},
        f"the worker goes on with {name}\nnext  open {page}",
    )
    return 0


def _nobody() -> int:
    raise PrerequisiteError(
        "no Prefect server answers, neither at PREFECT_API_URL nor one that `autoprune up` started "
        "from this state folder; start it, or run `autoprune resume` without --submit"
    )
