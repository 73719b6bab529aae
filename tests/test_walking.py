"""Repairs that walk: masks of the dense model, statistics of the model as repaired so far."""

from dataclasses import replace

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.masking import budget_zeros
from autoprune.metrics import build_metric
from autoprune.models.structure import find_blocks, prunable_linears
from autoprune.pruning import MetricScore, PruningPlan
from autoprune.pruning import prune as prune_model
from autoprune.repair import Repair
from tests.support.pruned import repaired_model
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model
from tests.support.whole_model import inputs_of


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "opt-350m"])
def test_a_walk_equals_whole_model_passes_between_blocks(family: str) -> None:
    windows = random_windows(6, 24)
    found, outcome = repaired_model(family, "walk:mrp", windows)
    model = tiny_model(family)
    layers = prunable_linears(model)
    repair = Repair.parse("mrp")
    for index in range(len(find_blocks(model))):
        members = [layer for layer in layers if layer.block == index]
        seen = inputs_of(model, members, windows)
        for layer in members:
            x = seen[layer.name]
            stats = {"gram": x.t() @ x / len(x)}
            layer.write(repair.repair(layer.read(), outcome.keep[layer.name], stats).weight)
    for layer in layers:
        torch.testing.assert_close(found[layer.name], layer.read(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_masks_are_those_of_the_dense_model_and_zeros_are_exact(family: str) -> None:
    windows = random_windows(4, 16)
    bare, plain = repaired_model(family, "none", windows)
    walked, outcome = repaired_model(family, "walk:sparsegpt", windows)
    assert outcome.mask_digest == plain.mask_digest
    assert outcome.zeros == budget_zeros(0.55, sum(weight.numel() for weight in bare.values()))
    for name, weight in walked.items():
        assert not weight[~outcome.keep[name]].any()


def test_only_what_follows_the_first_block_differs_from_one_shot() -> None:
    windows = random_windows(6, 24)
    shot, _ = repaired_model("llama", "mrp", windows)
    walked, _ = repaired_model("llama", "walk:mrp", windows)
    for layer in prunable_linears(tiny_model("llama")):
        same = torch.allclose(shot[layer.name], walked[layer.name], rtol=1e-3, atol=1e-5)
        assert same == (layer.block == 0), layer.name


def test_refined_masks_are_reported() -> None:
    windows = random_windows(6, 24)
    _, plain = repaired_model("llama", "none", windows)
    weights, refined = repaired_model("llama", "walk:sparseswaps+mrp", windows)
    assert refined.mask_digest != plain.mask_digest
    assert refined.layer_sparsity == plain.layer_sparsity
    for name, weight in weights.items():
        assert torch.equal(weight != 0, refined.keep[name]), name


def test_a_walk_asks_for_no_gram_of_the_dense_model() -> None:
    plan = PruningPlan.build(0.5, allocation="sdsa", repair="walk:mrp")
    assert "gram" not in plan.needs
    assert "gram" in plan.repair.needs
    assert "gram" in replace(plan, repair=Repair.parse("mrp")).needs


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (PruningPlan.build(0.5, repair="walk:mrp"), "repair 'walk:mrp' runs the blocks"),
        (PruningPlan.build(0.5, scoring="sequential"), "sequential pruning runs the blocks"),
    ],
)
def test_without_text_blocks_are_not_run(plan: PruningPlan, words: str) -> None:
    model = tiny_model("llama")
    with pytest.raises(UsageError, match=f"{words} on calibration text and none is given"):
        prune_model(model, MetricScore(build_metric("magnitude")), plan)


def test_texts_round_trip() -> None:
    assert Repair.parse("walk") == Repair.parse("walk:mrp")
    for text in ("walk:mrp", "walk:mrp:damp=0.02", "walk:sparsegpt:select=own+mrp"):
        repair = Repair.parse(text)
        assert repair.walks
        assert repair.text == text
        assert Repair.parse(repair.text) == repair


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("walk:walk:mrp", "needs the repair that walks"),
        ("walk:none", "nothing to gain"),
        ("dsnot+walk:mrp", "stands before the whole repair"),
        ("walk:mpr", "mrp"),
        ("ebft+mrp", "stands last"),
        ("ebft+ebft", "twice"),
        ("ebft:epochs=0", "epochs must be 1 or above"),
        ("ebft:rate=1", "rate must be between 0 and 1"),
        ("ebft:steps=3", "allowed: epochs, rate"),
    ],
)
def test_wrong_texts_say_what_to_write(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Repair.parse(text)
