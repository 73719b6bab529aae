"""A search resumed from its deployment until a stage is done: form, task runs, artifacts."""

import time
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.exceptions import PrefectHTTPStatusError

from autoprune.search.search import Search
from flows.search.params import SearchParams
from flows.search.runs import save_params
from tests.support.platform_live import Live
from tests.support.prefect_stack import RARELY

WAIT_SECONDS = 180.0


def test_a_stage_of_a_broken_search_is_done_by_the_worker(live: Live, tiny_folder: Path) -> None:
    params = SearchParams(
        model=str(tiny_folder), corpus=str(tiny_folder / "text.txt"), designer="genetic",
        sandbox="off", calibration_windows=4, seqlen=48, selection_windows=4, rung_windows=2,
        sealed_windows=3, run="staged",
    )  # fmt: skip
    # A search that was killed before its first step.
    with Search.open(live.state.run("staged"), params.spec()):
        save_params(live.state, "staged", params)
    with live.client() as client:
        deployment = client.read_deployment_by_name("resume/manual")
        form = deployment.parameter_openapi_schema["definitions"]["ResumeParams"]["properties"]
        assert set(form) == {"run", "until", "device"}
        with pytest.raises(PrefectHTTPStatusError):
            client.create_flow_run_from_deployment(
                deployment.id, parameters={"params": {"run": "staged", "until": "prune"}}
            )
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"params": {"run": "staged", "until": "measure"}}
        )
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := client.read_flow_run(run.id)).state.is_final():
            assert time.monotonic() < deadline, found.state
            time.sleep(RARELY)
        assert found.state.is_completed(), found.state.message
        assert found.name == "resume-staged-measure"
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = {each.name: each for each in client.read_task_runs(flow_run_filter=mine)}
        for name in ("prepare staged", "calibrate staged"):
            assert tasks[name].state.is_completed() and tasks[name].total_run_time
        assert any(name.startswith("measure ") for name in tasks)
        shown: dict[str, Any] = {
            each.key: each.data
            for each in client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
            )
        }
    assert "| statistics |" in shown["search-calibration-tiny-s60"]
    with Search.open(live.state.run("staged")) as found:
        assert found.finished is None and found.history()
