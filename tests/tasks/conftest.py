"""A search workbench over a tiny model, and MLflow, for tests of single tasks."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.spec import SearchSpec
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.track import Tracker, register_checkpoint
from tasks.workbench import opened
from tests.support.sketched import sketched as sketched
from tests.support.tiny_subject import tiny_place


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SearchBench]:
    """Designs in the sandbox where the test's module asks for it by ``DESIGNS_IN``."""
    folder, text = tiny_place(tmp_path)
    spec = SearchSpec(
        model=str(folder),
        corpus=str(text),
        calibration_windows=2,
        seqlen=32,
        selection_windows=2,
        sealed_windows=2,
        rung_windows=2,
    )
    made = SearchBench(
        str(folder),
        State.open(tmp_path / "state"),
        spec=spec,
        run_id="winner",
        designs_in=getattr(request.module, "DESIGNS_IN", "off"),
    )
    with opened(made):
        yield made


@pytest.fixture
def tracker(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """MLflow on a store of its own, which is empty."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    state = State.open(tmp_path / "state")
    shutil.copy(empty_store, state.tracking_database)
    return Tracker(state)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / "state")


@pytest.fixture
def versions(tracker: Tracker, tiny_folder: Path) -> list[str]:
    """Three versions of a model, of which the first leads."""
    parent = tracker.parent("tiny", "one", {"model": "tiny"}, {})
    known: dict[str, Any] = {"model": "tiny", "sparsity": 0.6, "description": "what it is"}
    tags = {"autoprune.perplexity.sealed": "44.7"}
    made = [
        register_checkpoint(tracker, parent, tiny_folder, masks=masks, tags=tags, **known)
        for masks in ("a", "b", "c")
    ]
    assert {one.name for one in made} == {"autoprune.tiny.s60"}
    return [one.version for one in made]
