"""Recipes that run the model block by block, put on a bench."""

import pytest
import torch

from autoprune import Bench, Recipe
from autoprune.bench.mask_memory import MaskMemory
from autoprune.metrics import build_metric
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.statistics.statistics import collect_statistics

BLOCKWISE = ["wanda+ramp+walk:mrp", "wanda+mrp+sequential"]


@pytest.mark.parametrize("draw", [0, 1])
@pytest.mark.parametrize("text", BLOCKWISE)
def test_the_bench_gives_what_the_engine_gives_on_its_draw(
    bench: Bench, text: str, draw: int
) -> None:
    recipe = Recipe.parse(text)
    with bench.pruned(recipe, 0.6, draw=draw) as outcome:
        found = [layer.read().clone() for layer in bench.layers]
    windows = bench.drawn_windows(draw)
    plan = PruningPlan.of_recipe(recipe, 0.6, seed=bench.seed)
    model = bench.loaded.model
    dense = collect_statistics(model, windows)
    score = MetricScore(build_metric("wanda"))
    with bench.dense:
        wanted = prune(model, score, plan, windows=windows, statistics=dense)
        assert outcome.mask_digest == wanted.mask_digest
        for layer, weight in zip(bench.layers, found, strict=True):
            torch.testing.assert_close(weight, layer.read(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("text", ["wanda", "wanda+mrp", *BLOCKWISE])
def test_measured_again_it_gives_the_same_to_the_bit(bench: Bench, text: str) -> None:
    first = bench.measure(text, 0.6)
    remembered = bench.measure(text, 0.6)
    anew = bench.measure(text, 0.6, memory=MaskMemory())
    assert first.nll == remembered.nll == anew.nll
    dense = [layer.read().clone() for layer in bench.layers]
    bench.dense.restore()
    assert all(
        torch.equal(layer.read(), weight) for layer, weight in zip(bench.layers, dense, strict=True)
    )
