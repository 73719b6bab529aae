"""``prefect.yaml``: every entrypoint is a flow, every parameter set is one that the flow takes."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

ROOT = Path(__file__).parent.parent.parent
FILE: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]


def _flow(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["entrypoint"])
def test_entrypoint_is_a_flow_that_takes_the_parameters(deployment: dict[str, Any]) -> None:
    flow = _flow(deployment["entrypoint"])
    # By this name `up` knows which deployments are of a flow that is gone.
    assert flow.name == deployment["entrypoint"].rpartition(".")[2]
    assert flow.should_validate_parameters and deployment["enforce_parameter_schema"]
    values = flow.validate_parameters(deployment["parameters"])
    assert set(values) == {"params"}
    schema = parameter_schema(flow.fn).model_dump()
    fields = schema["definitions"][type(values["params"]).__name__]["properties"]
    assert [field["position"] for field in fields.values()] == list(range(len(fields)))
    assert all(field["description"] for field in fields.values())


def test_no_code_is_pulled_and_one_night_runs_at_a_time() -> None:
    assert FILE["pull"] == []
    # The worker's environment counts, so that a run may reach the hub where its user may.
    assert "env" not in str(FILE) and "OFFLINE" not in str(FILE)
    flows = {deployment["entrypoint"].rpartition(".")[2] for deployment in DEPLOYMENTS}
    assert flows == {
        "nightly", "search", "resume", "prune", "evaluate", "promote", "compare",
    }  # fmt: skip
    (scheduled,) = [deployment for deployment in DEPLOYMENTS if deployment["schedules"]]
    assert scheduled["concurrency_limit"]["limit"] == 1
    assert scheduled["concurrency_limit"]["collision_strategy"] == "CANCEL_NEW"
    assert all(schedule["slug"] and schedule["timezone"] for schedule in scheduled["schedules"])
