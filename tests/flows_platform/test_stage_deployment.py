"""One stage of a search from its deployment: the form's choice, task runs and artifacts."""

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

from tests.support.platform_live import Live

WAIT_SECONDS = 180.0


def test_a_stage_of_a_finished_search_is_done_again_by_the_worker(
    live: Live, tiny_folder: Path
) -> None:
    sizes = {"calibration": 4, "selection": 4, "rung": 2, "sealed": 3}
    done = live.autoprune(
        "search", str(tiny_folder), f"--corpus={tiny_folder / 'text.txt'}", "--run=staged",
        "--designer=genetic", "--sandbox=off", "--seqlen=48", "--candidates=0", "--draws=1",
        *(f"--{name}-windows={count}" for name, count in sizes.items()),
        "--repairs=none", "--no-register-winner", AUTOPRUNE_PREFECT="off",
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    with live.client() as client:
        deployment = client.read_deployment_by_name("stage/manual")
        form = deployment.parameter_openapi_schema["definitions"]["StageParams"]["properties"]
        assert form["stage"]["enum"] == [
            "calibrate", "design", "validate", "measure", "seal", "register",
        ]  # fmt: skip
        with pytest.raises(PrefectHTTPStatusError):
            client.create_flow_run_from_deployment(
                deployment.id, parameters={"params": {"run": "staged", "stage": "prune"}}
            )
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"params": {"run": "staged", "stage": "calibrate"}}
        )
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := client.read_flow_run(run.id)).state.is_final():
            assert time.monotonic() < deadline, found.state
            time.sleep(0.2)
        assert found.state.is_completed(), found.state.message
        assert found.name == "stage-calibrate-staged"
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        tasks = {each.name: each for each in client.read_task_runs(flow_run_filter=mine)}
        # Collected again, then taken from the store: runs with times of their own.
        for name in ("prepare staged", "calibrate staged again", "calibrate staged"):
            assert tasks[name].state.is_completed() and tasks[name].total_run_time
        shown: dict[str, Any] = {
            each.key: each.data
            for each in client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
            )
        }
    assert "| source | cached: from the store |" in shown["search-calibration-tiny-s60"]
    assert "**agrees with the record**" in shown["calibrate-stage-report-tiny-s60"]
