"""The flow of a resumed search, which may stop after one stage."""

from typing import Any

from prefect import flow

from flows.naming import run_name
from flows.resume.params import ResumeParams
from flows.search import search
from flows.search.runs import find_run, going_on
from tasks.state import State

NAME = run_name(
    "resume",
    ResumeParams,
    lambda params: "-".join(filter(None, [params.run or "latest", params.until])),
)


@flow(name="resume", flow_run_name=NAME, persist_result=False)
def resume(params: ResumeParams = ResumeParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Go on with a search from its record: to the end, or until a stage is done."""
    state = State.open()
    settings = going_on(state, find_run(state, params.run), params.device)
    if params.until is None:
        return dict(search(settings))
    # As for a search: looking up the flow's hooks must not load torch.
    from flows.resume.staging import run_until

    return run_until(settings, params.until)
