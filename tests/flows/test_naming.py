"""Runs of flows and tasks are named by short words; a path of the machine is in no name."""

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

import tasks.recorded
from flows.compare import compare
from flows.compare.params import CompareParams
from flows.evaluate import evaluate
from flows.nightly import nightly
from flows.promote import promote
from flows.prune import prune
from flows.search import search
from tasks.calibrate import load_model
from tasks.recorded import short_paths
from tasks.state import without_login
from tasks.validate import validate_file

MODEL = "/some/where/Tiny_Model.Q4_1.gguf"


@pytest.mark.parametrize(
    ("flow", "params", "name"),
    [
        (compare, {"model": MODEL}, "compare-tiny-model"),
        (compare, CompareParams(model=MODEL), "compare-tiny-model"),
        (evaluate, {"model": MODEL}, "evaluate-tiny-model"),
        (promote, {"name": "autoprune.tiny.s50"}, "promote-autoprune-tiny-s50"),
        (promote, {"folder": "/some/where/pruned"}, "promote-pruned"),
        (promote, {}, "promote-challenger"),
        (promote, {"rollback": True}, "promote-rollback"),
        (promote, {"rollback": True, "name": "a.s50"}, "promote-rollback-a-s50"),
        (prune, {"model": MODEL}, "prune-tiny-model"),
        (search, {"model": MODEL, "run": "mine"}, "search-mine"),
        # What cannot be read is reported by the flow; a run without a name would stay RUNNING.
        (search, {"model": MODEL, "facts": "/no/such/file.json"}, "search"),
        (nightly, {"search": {"model": MODEL, "sparsity": 0.5}}, "nightly-tiny-model-s50"),
        (nightly, {"search": {"model": MODEL, "pattern": "1:4"}}, "nightly-tiny-model-s25"),
    ],
)
def test_names(flow: Any, params: Any, name: str) -> None:
    run = FlowRun.model_construct(id=uuid4())
    with FlowRunContext.model_construct(flow_run=run, parameters={"params": params}):
        assert flow.flow_run_name() == name


@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        (validate_file, (object(), MODEL), f"validate {MODEL}"),
        (load_model, (object(), "sftp://me:secret@host/m"), "load sftp://me:secret@host/m"),
    ],
)
def test_names_of_tasks(
    call: Any, arguments: tuple[Any, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []

    def noted(kind: str, title: str, work: Any) -> Any:
        titles.append(title)
        return lambda *args, **kwargs: None

    monkeypatch.setattr(tasks.recorded, "recorded", noted)
    call(*arguments)
    assert titles == [name]
    # A run shows it without folders and logins.
    shown = {f"validate {MODEL}": "validate Tiny_Model.Q4_1.gguf"}
    assert short_paths(without_login(name)) == shown.get(name, "load sftp://host/m")
