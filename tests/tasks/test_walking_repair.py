"""A recipe whose repair walks, measured by a search's tasks."""

import pytest
import torch

from autoprune.candidate import Candidate
from autoprune.metrics import build_metric
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.statistics.statistics import collect_statistics
from tasks.mask_memory import MaskMemory
from tasks.measure import measure, pruned
from tasks.search_bench import SearchBench

WALK = Recipe(Candidate("builtin", "wanda"), allocation="ramp", solver="walk:mrp")


@pytest.mark.parametrize("draw", [0, 1])
def test_a_search_walks_with_the_windows_of_its_draw(bench: SearchBench, draw: int) -> None:
    with bench.drawn(draw), pruned(bench, WALK, 0.6) as outcome:
        found = [layer.read().clone() for layer in bench.layers]
        windows = bench.calibration_windows
    plan = PruningPlan.of_recipe(WALK, 0.6, seed=bench.seed)
    model = bench.loaded.model
    dense = collect_statistics(model, windows)
    score = MetricScore(build_metric("wanda"))
    with bench.dense:
        wanted = prune(model, score, plan, windows=windows, statistics=dense)
        assert outcome.mask_digest == wanted.mask_digest
        for layer, weight in zip(bench.layers, found, strict=True):
            torch.testing.assert_close(weight, layer.read(), rtol=1e-4, atol=1e-6)


def test_measured_again_it_gives_the_same_to_the_bit(bench: SearchBench) -> None:
    arguments = (bench.id, "one", WALK.to_json(), 2, 0.6)
    first = measure.fn(*arguments)
    remembered = measure.fn(*arguments)
    bench.masks = MaskMemory()
    anew = measure.fn(*arguments)
    assert first["nll"] == remembered["nll"] == anew["nll"]
    dense = [layer.read().clone() for layer in bench.layers]
    bench.dense.restore()
    assert all(
        torch.equal(layer.read(), weight) for layer, weight in zip(bench.layers, dense, strict=True)
    )
