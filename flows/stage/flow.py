"""The flow of one stage of a search; the work is in :mod:`flows.stage.staging`."""

from typing import Any

from prefect import flow

from flows.naming import run_name
from flows.stage.params import StageParams

NAME = run_name("stage", StageParams, lambda params: f"{params.stage}-{params.run or 'latest'}")


@flow(name="stage", flow_run_name=NAME, persist_result=False)
def stage(params: StageParams = StageParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Do one stage of a search: its open steps or, if none, repeat it and compare the figures."""
    # As for a search: looking up the flow's hooks must not load torch.
    from flows.stage.staging import run_stage

    return run_stage(params)
