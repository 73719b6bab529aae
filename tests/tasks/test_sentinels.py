"""A search's sentinels see weights left behind, statistics that drifted, and the repair."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from autoprune.bench import bench as benches
from autoprune.bench.calibration import StoredStatistics
from autoprune.bench.text import SELECTION
from autoprune.recipe import Candidate, Recipe
from autoprune.search.steps import Failed, Measure, Measurement, Validate, outcome_from_json
from autoprune.statistics import statistics
from tasks import steps
from tasks.measure import TASKS, call_of
from tasks.prepare import measure_dense
from tasks.search_bench import SearchBench

WANDA = Recipe(Candidate("builtin", "wanda"))


def step(recipe: Recipe | None, role: Any) -> Measure:
    where = ("wanda", 1, 0, "wanda", recipe)
    return Measure(*where, rung=1, windows=1, sparsity=0.6, role=role)


def test_the_dense_model_is_measured_as_it_stands(bench: SearchBench) -> None:
    dense = measure_dense(bench, SELECTION)
    found = steps.do(bench, step(None, "sentinel"))
    assert isinstance(found, Measurement)
    torch.testing.assert_close(found.nll[0], dense.nll[0], rtol=0, atol=1e-5)
    assert found.tokens == dense.tokens / 2 and found.seconds > 0
    layer = bench.layers[0]
    layer.zero(torch.zeros(layer.shape, dtype=torch.bool))
    left_over = steps.do(bench, step(None, "sentinel"))
    assert isinstance(left_over, Measurement)
    assert abs(left_over.nll[0] - dense.nll[0]) > 1e-4


def test_sentinels_are_never_rounded(bench: SearchBench) -> None:
    plain = {role: loss(bench, WANDA, role) for role in ("sentinel", "candidate", "repeat")}
    assert len(set(plain.values())) == 1
    bench.products = torch.bfloat16
    assert loss(bench, WANDA, "sentinel") == plain["sentinel"]
    assert loss(bench, WANDA, "candidate") == loss(bench, WANDA, "repeat") != plain["candidate"]
    assert bench.products == torch.bfloat16


def loss(bench: SearchBench, recipe: Recipe, role: str) -> float:
    outcome = steps.do(bench, step(recipe, role))
    assert isinstance(outcome, Measurement)
    return outcome.nll[0]


def test_a_worker_gives_what_this_process_gives(bench: SearchBench) -> None:
    for wanted in (step(WANDA, "sentinel"), Validate("v", 1, 0, "wanda", WANDA)):
        name, step_id, arguments = call_of(wanted)
        sent = json.loads(json.dumps(arguments))
        found = outcome_from_json(TASKS[name](bench, step_id, *sent))
        here = steps.do(bench, wanted)
        assert replace(found, seconds=0.0) == replace(here, seconds=0.0)


def flip_statistics(bench: SearchBench) -> None:
    """As a fault in memory would: the same object, other numbers."""
    norms = bench.calibrated(("x_norm",)).of(bench.layers[0].name)["x_norm"]
    norms.copy_(norms.flip(0) ** 3)


@pytest.mark.parametrize("repair", ["none", "mrp"])
def test_a_sentinel_prunes_anew_and_what_drifted_is_not_remembered(
    bench: SearchBench, repair: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their digest alone would tell; here it is scores and budgets that are made anew.
    monkeypatch.setattr(StoredStatistics, "verify", lambda _: None)
    recipe = Recipe(WANDA.metric, repair=repair)
    first = loss(bench, recipe, "baseline")
    assert loss(bench, recipe, "sentinel") == pytest.approx(first, abs=1e-6)
    flip_statistics(bench)
    drifted = loss(bench, recipe, "sentinel")
    assert abs(drifted - first) > 1e-4
    # Who asks for a figure may have the remembered masks, and those are still the sound ones.
    assert loss(bench, recipe, "candidate") == first
    assert loss(bench, recipe, "sentinel") == drifted


REPAIRS = ["mrp", "walk:mrp", "ebft:epochs=1", "sparsegpt:select=own+ebft:epochs=1"]


@pytest.mark.parametrize("repair", REPAIRS)
def test_what_is_sealed_is_repaired_anew(
    bench: SearchBench, repair: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair that went wrong once, or goes wrong now, gives another figure."""
    recipe = Recipe(WANDA.metric, repair=repair)
    sound = benches.repair_masks

    def faulty(*args: Any, **rest: Any) -> Any:
        found = sound(*args, **rest)
        for layer in bench.layers:
            layer.write(1.3 * layer.read())
        return found

    monkeypatch.setattr(benches, "repair_masks", faulty)
    wrong = loss(bench, recipe, "candidate")
    monkeypatch.setattr(benches, "repair_masks", sound)
    # What is remembered hides it; the repetition does not, and it is what is sealed.
    assert loss(bench, recipe, "candidate") == wrong
    right = loss(bench, recipe, "repeat")
    assert abs(right - wrong) > 1e-3
    made: list[str] = []
    monkeypatch.setattr(benches, "repair_masks", lambda *_, **rest: made.append("again"))
    assert loss(bench, recipe, "candidate") == right and made == []
    monkeypatch.setattr(benches, "repair_masks", sound)
    assert loss(bench, recipe, "repeat") == pytest.approx(right, abs=1e-6)


def test_statistics_that_changed_in_memory_are_found_out(bench: SearchBench) -> None:
    sound = loss(bench, WANDA, "sentinel")
    flip_statistics(bench)
    for role in ("sentinel", "repeat"):
        found = steps.do(bench, step(WANDA, role))
        assert isinstance(found, Failed) and found.code == "statistics"
        assert "test this machine's memory" in found.detail
    # A digest that changed with them is not that of the store.
    held = bench.calibrated(())
    forged = replace(held, digest=statistics._digest(held.tokens, held.layers))
    bench.statistics_of(0)._found = forged  # type: ignore[attr-defined]
    assert isinstance(steps.do(bench, step(WANDA, "sentinel")), Failed)
    # As they are on record, they serve again.
    bench._statistics = None
    assert loss(bench, WANDA, "sentinel") == pytest.approx(sound)
