"""A search's sentinels see weights that a recipe left behind, and statistics that drifted."""

import pytest
import torch

from autoprune.recipe import Candidate, Recipe
from autoprune.search.steps import Measure
from tasks import steps
from tasks.measure import measure, measure_dense
from tasks.search_bench import SELECTION, SearchBench

WANDA = Recipe(Candidate("builtin", "wanda"))


def test_the_dense_model_is_measured_as_it_stands(bench: SearchBench) -> None:
    dense = measure_dense.fn(bench.id, SELECTION)
    found = measure.fn(bench.id, "end.dense.sentinel", None, 1, 0.0)
    torch.testing.assert_close(found["nll"][0], dense["nll"][0], rtol=0, atol=1e-5)
    assert found["tokens"] == dense["tokens"] / 2 and found["seconds"] > 0
    layer = bench.layers[0]
    layer.zero(torch.zeros(layer.shape, dtype=torch.bool))
    left_over = measure.fn(bench.id, "g2.dense.sentinel", None, 1, 0.0)
    assert abs(left_over["nll"][0] - dense["nll"][0]) > 1e-4


@pytest.mark.parametrize("solver", ["none", "mrp"])
def test_a_sentinel_prunes_anew_and_what_drifted_is_not_remembered(
    bench: SearchBench, solver: str
) -> None:
    recipe = Recipe(WANDA.metric, solver=solver)

    def loss(role: str) -> float:
        where = ("wanda", 1, 0, "wanda", recipe)
        step = Measure(*where, rung=1, windows=1, sparsity=0.6, role=role)  # type: ignore[arg-type]
        name, step_id, arguments = steps.call_of(step)
        found = steps.TASKS[name].fn(bench.id, step_id, *arguments)
        return float(found["nll"][0])

    first = loss("baseline")
    assert loss("sentinel") == pytest.approx(first, abs=1e-6)
    statistics = bench.calibrated(("x_norm",)).of(bench.layers[0].name)
    # As a fault in memory would: the same object, other numbers.
    norms = statistics["x_norm"]
    norms.copy_(norms.flip(0) ** 3)
    drifted = loss("sentinel")
    assert abs(drifted - first) > 1e-4
    # Who asks for a figure may have the remembered masks, and those are still the sound ones.
    assert loss("candidate") == first
    assert loss("sentinel") == drifted
