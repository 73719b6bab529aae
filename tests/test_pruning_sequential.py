"""Sequential pruning equals pruning the whole model by hand, block after block."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.masking import budget_zeros
from autoprune.metrics import build_metric
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, find_blocks, prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.pruning.engine import new_weights, record_block
from autoprune.pruning.masks import StatsOf, no_stats
from autoprune.repair import Repair
from autoprune.statistics.statistics import collect_statistics
from tests.support.pruned import block_by_block
from tests.support.tiny_models import FAMILIES, FUSED_EXPERTS, random_windows, tiny_model
from tests.support.whole_model import inputs_of


def prune_by_hand(
    layers: list[PrunableLinear], inputs: dict[str, Tensor], share: float, repair: str
) -> dict[str, Tensor]:
    masks = {}
    for layer in layers:
        x, weight = inputs[layer.name], layer.read().double()
        order = (weight.abs() * x.square().mean(0).sqrt()).argsort(dim=1, stable=True)
        keep = torch.ones(layer.shape, dtype=torch.bool)
        keep.scatter_(1, order[:, : round(share * layer.shape[1])], False)
        gram = x.t() @ x / len(x)
        layer.write(Repair.parse(repair).repair(weight, keep, {"gram": gram}).weight)
        masks[layer.name] = keep
    return masks


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("repair", ["none", "mrp"])
def test_block_after_block_equals_the_whole_model(family: str, repair: str) -> None:
    windows = random_windows(6, 24)
    by_hand, streamed = tiny_model(family), tiny_model(family)
    layers = prunable_linears(by_hand)
    masks: dict[str, Tensor] = {}
    for index in range(len(find_blocks(by_hand))):
        members = [layer for layer in layers if layer.block == index]
        masks |= prune_by_hand(members, inputs_of(by_hand, members, windows), 0.5, repair)
    plan = PruningPlan.build(0.5, repair=repair)
    outcome = block_by_block(streamed, windows, build_metric("wanda"), plan)
    assert list(outcome.keep) == list(masks)
    for left, right in zip(layers, prunable_linears(streamed), strict=True):
        assert torch.equal(outcome.keep[left.name], masks[left.name]), left.name
        torch.testing.assert_close(right.read(), left.read(), rtol=1e-2, atol=1e-4)


STEPS = {
    "llama": ["q_proj k_proj v_proj", "o_proj", "gate_proj up_proj", "down_proj"],
    # Defines o_proj before the qkv_proj that feeds it.
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    # Attention and feed-forward map read one input.
    "falcon": ["query_key_value dense_h_to_4h", "dense", "dense_4h_to_h"],
    "mixtral": ["q_proj k_proj v_proj", "o_proj", "gate_up_proj " * 4, "down_proj " * 4],
    "deepseek_v3": [
        "q_a_proj kv_a_proj_with_mqa",
        *("q_b_proj", "kv_b_proj", "o_proj", "gate_up_proj " * 4, "down_proj " * 4),
        *("gate_proj up_proj", "down_proj"),
    ],
}


@pytest.mark.parametrize("family", STEPS)
def test_steps_run_in_order_and_take_all_experts_at_once(family: str) -> None:
    model = tiny_model(family)
    stream = BlockStream(model, random_windows(6, 24))
    stream.advance()
    members = [layer for layer in prunable_linears(model) if layer.block == 1]
    steps = record_block(stream, members, frozenset({"x_norm"})).steps()
    assert [[layer.projection for layer in step] for step in steps] == [
        names.split() for names in STEPS[family]
    ]


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_true_sequential_prunes_step_by_step_inside_the_block(family: str) -> None:
    windows = random_windows(6, 24)
    by_hand, streamed = tiny_model(family), tiny_model(family)
    layers = prunable_linears(by_hand)
    masks: dict[str, Tensor] = {}
    for index in range(len(find_blocks(by_hand))):
        members = {layer.projection: layer for layer in layers if layer.block == index}
        for names in STEPS[family]:
            step = [members[name] for name in names.split()]
            masks |= prune_by_hand(step, inputs_of(by_hand, step, windows), 0.5, "none")
    plan = PruningPlan(0.5)
    outcome = block_by_block(streamed, windows, build_metric("wanda"), plan, "true-sequential")
    assert all(torch.equal(outcome.keep[name], mask) for name, mask in masks.items())
    plain = block_by_block(tiny_model(family), windows, build_metric("wanda"), plan)
    assert plain.mask_digest != outcome.mask_digest


def test_steps_inside_a_block_whose_matrices_compete_are_refused() -> None:
    plan = PruningPlan(0.5, "block")
    model, windows, wanda = tiny_model("llama"), random_windows(2, 8), build_metric("wanda")
    with pytest.raises(UsageError, match="prunes them in steps"):
        block_by_block(model, windows, wanda, plan, "true-sequential")
    assert block_by_block(model, windows, wanda, plan).zeros


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_pruned_exactly(family: str) -> None:
    model = tiny_model(family)
    plan = PruningPlan.build(0.55, group="matrix", allocation="owl", repair="mrp")
    outcome = block_by_block(model, random_windows(4, 16), build_metric("wanda"), plan)
    layers = prunable_linears(model)
    assert outcome.zeros == budget_zeros(0.55, sum(layer.numel for layer in layers))
    for layer in layers:
        assert not layer.read()[~outcome.keep[layer.name]].any()
    logits = model(input_ids=random_windows(1, 8)).logits
    assert bool(torch.isfinite(logits).all())
    assert family in FUSED_EXPERTS or not any("[" in layer.name for layer in layers)


def test_metrics_with_gradients_and_curvature_run_sequentially() -> None:
    windows = random_windows(4, 16)
    for metric in ("gblm", "sparsegpt"):
        model = tiny_model("llama")
        outcome = block_by_block(model, windows, build_metric(metric), PruningPlan(0.5))
        assert outcome.sparsity == pytest.approx(0.5, abs=1e-3)


def test_the_first_block_agrees_with_one_shot() -> None:
    windows = random_windows(4, 16)
    one, two = tiny_model("llama"), tiny_model("llama")
    statistics = collect_statistics(one, windows)
    wanda = MetricScore(build_metric("wanda"))
    shot = prune(one, wanda, PruningPlan(0.5), statistics=statistics)
    walk = block_by_block(two, windows, build_metric("wanda"), PruningPlan(0.5))
    first = [layer.name for layer in prunable_linears(one) if layer.block == 0]
    assert all(torch.equal(shot.keep[name], walk.keep[name]) for name in first)
    assert shot.mask_digest != walk.mask_digest


def test_random_masks_of_layers_of_one_shape_differ_and_do_not_depend_on_the_way() -> None:
    one, two = tiny_model("llama"), tiny_model("llama")
    layers, metric, plan = prunable_linears(one), build_metric("random"), PruningPlan(0.5)
    shot = prune(one, MetricScore(metric), plan)
    walk = block_by_block(two, random_windows(), metric, plan)
    assert shot.mask_digest == walk.mask_digest
    same_shape = [shot.keep[layer.name] for layer in layers if layer.projection == "q_proj"]
    assert not any(torch.equal(same_shape[0], other) for other in same_shape[1:])


def test_global_comparison_is_refused() -> None:
    with pytest.raises(UsageError, match="whole model at once"):
        block_by_block(
            tiny_model("llama"),
            random_windows(),
            build_metric("wanda"),
            PruningPlan(0.5, group="global"),
        )


@dataclass(frozen=True)
class SecondHalf:
    """Stands for a program: keeps the second half of every row, doubled, and looks at its input."""

    seen: dict[str, Tensor]
    needs: frozenset[str] = frozenset({"x_norm"})

    def __call__(
        self, layers: Sequence[PrunableLinear], stats_of: StatsOf
    ) -> tuple[dict[str, Tensor], list[str]]:
        masks = {}
        for layer in layers:
            keep = torch.arange(layer.shape[1]).expand(layer.shape) >= layer.shape[1] // 2
            self.seen[layer.name] = stats_of(layer)["x_norm"]
            layer.write(2 * layer.read() * keep)
            masks[layer.name] = keep
        return masks, [f"{layer.name}: doubled" for layer in layers]


def test_whatever_gives_new_weights_can_take_the_place_of_masks_and_repair() -> None:
    windows = random_windows(6, 24)
    model, by_hand = tiny_model("llama"), tiny_model("llama")
    layers, made = prunable_linears(model), SecondHalf({})
    plan = PruningPlan.build(0.5, scoring="sequential")
    masks, notes = new_weights(model, layers, made, plan, no_stats, windows)
    assert notes == [f"{layer.name}: doubled" for layer in layers]
    assert list(masks) == [layer.name for layer in layers]
    for index in range(len(find_blocks(by_hand))):
        members = [layer for layer in prunable_linears(by_hand) if layer.block == index]
        inputs = inputs_of(by_hand, members, windows)
        for layer in members:
            norm = inputs[layer.name].square().mean(0).sqrt().float()
            seen = made.seen[layer.name]
            torch.testing.assert_close(seen / seen.sum(), norm / norm.sum(), rtol=1e-3, atol=1e-5)
            layer.write(2 * layer.read() * masks[layer.name])
    for left, right in zip(layers, prunable_linears(by_hand), strict=True):
        assert torch.equal(left.read(), right.read()), left.name
    # The block as a whole can be tuned afterwards, whatever made its weights.
    tuned = tiny_model("llama")
    plan = PruningPlan.build(0.5, scoring="sequential", repair="ebft:epochs=8")
    new_weights(tuned, prunable_linears(tuned), made, plan, no_stats, windows)
    pairs = zip(prunable_linears(tuned), layers, strict=True)
    assert any(not torch.equal(left.read(), right.read()) for left, right in pairs)
    for layer in prunable_linears(tuned):
        assert not layer.read()[~masks[layer.name]].any()
