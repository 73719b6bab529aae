"""The choice between allocators: nothing is measured in vain, and the model is dense afterwards."""

from pathlib import Path

import pytest
import torch

from autoprune import Bench
from autoprune.bench.allocations import choose_allocation
from autoprune.errors import NothingPassedError, UsageError
from autoprune.pruning import PruningPlan
from tests.support.tiny_subject import broken_subject, save_subject


def test_it_is_refused_where_there_is_nothing_to_choose(bench: Bench) -> None:
    for plan in (PruningPlan(0.5, group="global"), PruningPlan.build(None, pattern="2:4")):
        with pytest.raises(UsageError, match="'sdsa' can change nothing"):
            choose_allocation(bench, "magnitude", plan, ["sdsa"])
    assert "loaded" not in vars(bench)


def test_the_least_loss_wins_and_the_model_is_dense_again(bench: Bench) -> None:
    before = [layer.read().clone() for layer in bench.layers]
    plan = PruningPlan.build(0.6, repair="mrp")
    texts = ["uniform", "ramp", "sdsa"]
    found = choose_allocation(bench, "wanda", plan, texts)
    assert found.best == min(found.finals, key=lambda pair: pair[1])[0]
    assert {text for text, _ in found.losses} == set(texts)
    for text, loss in found.losses:
        extra = "" if text == "uniform" else f"+{text}"
        nll = bench.measure(f"wanda{extra}", 0.6).nll
        assert loss == pytest.approx(sum(nll) / len(nll), abs=1e-5)
    assert all(torch.equal(x.read(), y) for x, y in zip(bench.layers, before, strict=True))


def test_a_model_that_computes_no_number_has_no_best_allocation(place: tuple[Path, Path]) -> None:
    model = save_subject(broken_subject(), place[0])
    sizes = {"calibration_windows": 2, "selection_windows": 2}
    with Bench.open(model, corpus=place[1], seqlen=32, **sizes) as bench:
        plan = PruningPlan.build(0.6)
        with pytest.raises(NothingPassedError, match="uniform, ramp the model's loss"):
            choose_allocation(bench, "magnitude", plan, ["ramp"])
