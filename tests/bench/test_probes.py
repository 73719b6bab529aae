"""Validation looks at every kind of layer, so that no metric passes for another one."""

from collections.abc import Mapping

import pytest
from torch import Tensor

from autoprune import Bench
from autoprune.models.structure import PrunableLinear
from tests.support.given_scorer import PYTHON, GivenScorer, wanda


def test_one_layer_for_each_kind_of_input(bench: Bench) -> None:
    kinds = {layer.projection for layer in bench.probes}
    assert kinds == {"q_proj", "o_proj", "gate_proj", "down_proj"} and len(bench.probes) == 4
    assert {layer.block for layer in bench.probes} == {0, 1}
    assert {layer.shape for layer in bench.probes} == {layer.shape for layer in bench.layers}


@pytest.mark.parametrize("axis", [1, 0], ids=["down", "gate and up"])
def test_a_metric_with_exceptions_is_no_rediscovery(bench: Bench, axis: int) -> None:
    known = bench.validate("wanda", 0.6)
    assert known.ok and known.signature
    assert {name.partition(" ")[0] for name in known.errors} == {p.projection for p in bench.probes}
    assert known.reconstruction_error is not None
    assert min(known.errors.values()) < known.reconstruction_error < max(known.errors.values())
    bench.scorer = GivenScorer(wanda)
    same = bench.validate(PYTHON, 0.6)
    assert same.signature == known.signature
    assert same.reconstruction_error == known.reconstruction_error

    def other(layer: PrunableLinear, stats: Mapping[str, Tensor]) -> Tensor:
        return layer.read().abs() * stats["x_max" if layer.shape[axis] > 32 else "x_norm"]

    bench.scorer = GivenScorer(other, ("x_norm", "x_max"))
    assert bench.validate(PYTHON, 0.6).signature != known.signature


def test_only_probe_layers_are_scored(bench: Bench) -> None:
    bench.scorer = given = GivenScorer(wanda)
    assert bench.validate(PYTHON, 0.6).ok
    assert given.asked == [layer.name for layer in bench.probes]
