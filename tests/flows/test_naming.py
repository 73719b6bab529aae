"""Flow runs are named by short words; a model's path is in no name."""

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows.calibrate import calibrate
from flows.compare import compare
from flows.evaluate import evaluate
from flows.nightly import nightly
from flows.prune import prune
from flows.search import search
from flows.stage_params import CalibrateParams

MODEL = "/some/where/Tiny_Model.Q4_1.gguf"


@pytest.mark.parametrize(
    ("flow", "params", "name"),
    [
        (calibrate, {"model": MODEL}, "calibrate-tiny-model"),
        (calibrate, CalibrateParams(model=MODEL), "calibrate-tiny-model"),
        (compare, {"model": MODEL}, "compare-tiny-model"),
        (evaluate, {"model": MODEL}, "evaluate-tiny-model"),
        (prune, {"model": MODEL}, "prune-tiny-model"),
        (search, {"model": MODEL, "run": "mine"}, "search-mine"),
        (nightly, {"search": {"model": MODEL, "sparsity": 0.5}}, "nightly-tiny-model-s50"),
    ],
)
def test_names(flow: Any, params: Any, name: str) -> None:
    run = FlowRun.model_construct(id=uuid4())
    with FlowRunContext.model_construct(flow_run=run, parameters={"params": params}):
        assert flow.flow_run_name() == name
