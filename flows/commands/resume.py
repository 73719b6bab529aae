"""``autoprune resume``: go on with a search that was interrupted."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autoprune.errors import PrerequisiteError, UsageError
from flows.commands.search import search_with
from flows.platform.api_server import running_api, set_prefect_environment
from flows.platform.zombies import retry, settle
from flows.runs import find_run, saved_params
from flows.terminal.output import emit, tell
from tasks.state import State

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun


def run(args: argparse.Namespace) -> int:
    """Correct the record, then resume the search here or through the worker."""
    state = State.open()
    run_id = find_run(state, args.run_name)
    params = saved_params(state, run_id)
    set_prefect_environment(state, verbose=args.verbose)
    api = running_api(state)
    if api:
        known = settle(state, api, run_id)
        lost = [one for one in known if one.state is not None and one.state.is_running()]
        if lost:
            tell(f"marked as crashed: {', '.join(one.name for one in lost)}")
        if args.submit:
            return _submit(args, state, api, run_id, known)
    elif args.submit:
        return _nobody()
    return search_with(args, params)


def _submit(
    args: argparse.Namespace, state: State, api: str, run_id: str, known: "Sequence[FlowRun]"
) -> int:
    if not known:
        raise UsageError(
            f"Prefect knows no run of the search {run_id!r}; run `autoprune resume {run_id}` "
            "without --submit"
        )
    name, number = retry(state, api, known[0])
    page = f"{api.removesuffix('/api')}/v2/runs/flow-run/{number}"
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
