"""Validation looks at every kind of layer, so that no metric passes for another one."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from autoprune.candidate import Candidate
from autoprune.models.structure import PrunableLinear
from autoprune.recipe import Recipe
from tasks import scoring
from tasks.behaviour import behaviour
from tasks.search_bench import SearchBench


def test_one_layer_for_each_kind_of_input(bench: SearchBench) -> None:
    kinds = {layer.projection for layer in bench.probes}
    assert kinds == {"q_proj", "o_proj", "gate_proj", "down_proj"} and len(bench.probes) == 4
    assert {layer.block for layer in bench.probes} == {0, 1}
    assert {layer.shape for layer in bench.probes} == {layer.shape for layer in bench.layers}


@pytest.mark.parametrize("axis", [1, 0], ids=["down", "gate and up"])
def test_a_metric_with_exceptions_is_no_rediscovery(
    bench: SearchBench, monkeypatch: pytest.MonkeyPatch, axis: int
) -> None:
    recipe = Recipe(Candidate("builtin", "wanda"))
    wanda, _ = behaviour(bench, recipe)

    def metric(*_: object) -> Callable[[PrunableLinear], Tensor]:
        statistics = bench.calibrated(())

        def score(layer: PrunableLinear, stats: Any) -> Tensor:
            name = "x_max" if layer.shape[axis] > 32 else "x_norm"
            return layer.read().abs() * statistics.of(layer.name)[name]

        return score

    monkeypatch.setattr(scoring, "score_function", metric)
    assert behaviour(bench, recipe)[0] != wanda
    monkeypatch.undo()
    assert behaviour(bench, recipe)[0] == wanda
