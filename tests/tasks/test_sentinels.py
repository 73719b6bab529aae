"""A search's sentinels see weights left behind, statistics that drifted, and the repair."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search.steps import Failed, Measure, Measurement, Outcome, outcome_from_json
from autoprune.statistics import statistics
from tasks import measure, steps
from tasks.search_bench import SELECTION, SearchBench

WANDA = Recipe(Candidate("builtin", "wanda"))


def test_the_dense_model_is_measured_as_it_stands(bench: SearchBench) -> None:
    dense = measure.measure_dense.fn(bench.id, SELECTION)
    found = measure.measure.fn(bench.id, "end.dense.sentinel", None, 1, 0.0)
    torch.testing.assert_close(found["nll"][0], dense["nll"][0], rtol=0, atol=1e-5)
    assert found["tokens"] == dense["tokens"] / 2 and found["seconds"] > 0
    layer = bench.layers[0]
    layer.zero(torch.zeros(layer.shape, dtype=torch.bool))
    left_over = measure.measure.fn(bench.id, "g2.dense.sentinel", None, 1, 0.0)
    assert abs(left_over["nll"][0] - dense["nll"][0]) > 1e-4


def done(bench: SearchBench, recipe: Recipe, role: str) -> Outcome:
    """What a step of a search on this recipe gives."""
    where = ("wanda", 1, 0, "wanda", recipe)
    step = Measure(*where, rung=1, windows=1, sparsity=0.6, role=role)  # type: ignore[arg-type]
    name, step_id, arguments = steps.call_of(step)
    return outcome_from_json(steps.TASKS[name].fn(bench.id, step_id, *arguments))


def loss(bench: SearchBench, recipe: Recipe, role: str) -> float:
    outcome = done(bench, recipe, role)
    assert isinstance(outcome, Measurement)
    return outcome.nll[0]


def flip_statistics(bench: SearchBench) -> None:
    """As a fault in memory would: the same object, other numbers."""
    norms = bench.calibrated(("x_norm",)).of(bench.layers[0].name)["x_norm"]
    norms.copy_(norms.flip(0) ** 3)


@pytest.mark.parametrize("solver", ["none", "mrp"])
def test_a_sentinel_prunes_anew_and_what_drifted_is_not_remembered(
    bench: SearchBench, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their digest alone would tell; here it is scores and budgets that are made anew.
    monkeypatch.setattr(SearchBench, "verify_statistics", lambda _: None)
    recipe = Recipe(WANDA.metric, solver=solver)
    first = loss(bench, recipe, "baseline")
    assert loss(bench, recipe, "sentinel") == pytest.approx(first, abs=1e-6)
    flip_statistics(bench)
    drifted = loss(bench, recipe, "sentinel")
    assert abs(drifted - first) > 1e-4
    # Who asks for a figure may have the remembered masks, and those are still the sound ones.
    assert loss(bench, recipe, "candidate") == first
    assert loss(bench, recipe, "sentinel") == drifted


REPAIRS = ["mrp", "walk:mrp", "ebft:epochs=1", "sparsegpt:select=own+ebft:epochs=1"]


@pytest.mark.parametrize("solver", REPAIRS)
def test_what_is_sealed_is_repaired_anew(
    bench: SearchBench, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair that went wrong once, or goes wrong now, gives another figure."""
    recipe = Recipe(WANDA.metric, solver=solver)
    sound = measure._repair

    def faulty(*args: Any) -> Any:
        found = sound(*args)
        for layer in bench.layers:
            layer.write(1.3 * layer.read())
        return found

    monkeypatch.setattr(measure, "_repair", faulty)
    wrong = loss(bench, recipe, "candidate")
    monkeypatch.setattr(measure, "_repair", sound)
    # What is remembered hides it; the repetition does not, and it is what is sealed.
    assert loss(bench, recipe, "candidate") == wrong
    right = loss(bench, recipe, "repeat")
    assert abs(right - wrong) > 1e-3
    made: list[str] = []
    monkeypatch.setattr(measure, "_repair", lambda *args: made.append("again"))
    assert loss(bench, recipe, "candidate") == right and made == []
    monkeypatch.setattr(measure, "_repair", sound)
    assert loss(bench, recipe, "repeat") == pytest.approx(right, abs=1e-6)


def test_statistics_that_changed_in_memory_are_found_out(bench: SearchBench) -> None:
    sound = done(bench, WANDA, "sentinel")
    assert isinstance(sound, Measurement)
    flip_statistics(bench)
    for role in ("sentinel", "repeat"):
        found = done(bench, WANDA, role)
        assert isinstance(found, Failed) and found.code == "statistics"
        assert "test this machine's memory" in found.detail
    # A digest that changed with them is not that of the store.
    names, held = bench._statistics[0]
    digest = statistics._digest(held.tokens, held.layers)
    bench._statistics[0] = (names, replace(held, digest=digest))
    assert isinstance(done(bench, WANDA, "sentinel"), Failed)
    # As they are on record, they serve again.
    bench._statistics.clear()
    assert done(bench, WANDA, "sentinel").nll == pytest.approx(sound.nll)  # type: ignore[union-attr]
