"""EBFT: the kept weights of a block tuned until it gives what it gave while dense."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from autoprune.allocation import ModelContext
from autoprune.candidate import Scoring
from autoprune.design.parts import Choices, repair_numbers, with_repair_numbers
from autoprune.errors import UsageError
from autoprune.masking import budget_zeros, masks_digest
from autoprune.metrics import build_metric
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.pruning import (
    MetricScore,
    PruneOutcome,
    PruningPlan,
    layer_budgets,
    masks_from_scores,
    products,
)
from autoprune.pruning import prune as prune_model
from autoprune.pruning.masters import Master
from autoprune.pruning.plan import Precision
from autoprune.pruning.tuning import BlockGoals, _error, tune_block, windows_per_batch
from autoprune.repair import BlockTuning, Repair
from autoprune.statistics.statistics import collect_statistics
from tests.support.pruned import block_by_block, repaired_model
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model


def pruned_block(
    windows: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[BlockStream, list[PrunableLinear], dict[str, Tensor], list[Tensor]]:
    """First block of a tiny llama, half of every matrix gone, and what it gave before."""
    model = tiny_model("llama").to(dtype)
    stream = BlockStream(model, windows, batch=1)
    members = [layer for layer in prunable_linears(model) if layer.block == 0]
    goals = list(stream.outputs())
    generator = torch.Generator().manual_seed(3)
    keep = {m.name: torch.rand(m.shape, generator=generator) < 0.5 for m in members}
    for member in members:
        member.zero(keep[member.name])
    return stream, members, keep, goals


def error_of(output: Tensor, goal: Tensor) -> float:
    """Mean over tokens of the squared relative error, in float64."""
    lost = (output - goal).double().norm(dim=-1) / goal.double().norm(dim=-1)
    return float(lost.square().mean())


def error(stream: BlockStream, goals: list[Tensor]) -> float:
    """The same over all batches, which are of one size."""
    found = [error_of(y, g) for y, g in zip(stream.outputs(), goals, strict=True)]
    return sum(found) / len(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_error_falls_and_pruned_weights_stay_zero(dtype: torch.dtype) -> None:
    stream, members, keep, goals = pruned_block(random_windows(8, 24), dtype)
    before, flags = error(stream, goals), [p.requires_grad for p in stream.model.parameters()]
    others = {
        name: value.clone()
        for name, value in stream.model.state_dict().items()
        if name not in {m.parameter for m in members}
    }
    assert tune_block(stream, members, keep, goals, BlockTuning(epochs=20)) == []
    assert error(stream, goals) < 0.9 * before
    for member in members:
        assert torch.equal(member.read() != 0, keep[member.name])
    for name, value in others.items():
        assert torch.equal(stream.model.state_dict()[name], value), name
    assert [p.requires_grad for p in stream.model.parameters()] == flags
    assert all(p.grad is None for p in stream.model.parameters())


def test_a_tuning_that_brings_nothing_leaves_every_bit_and_says_so() -> None:
    stream, members, keep, goals = pruned_block(random_windows(4, 24))
    copies = [member.read().clone() for member in members]
    # Steps as large as the weights themselves only throw the block about.
    notes = tune_block(stream, members, keep, goals, BlockTuning(epochs=1, rate=0.99))
    assert notes == ["block 0: tuning did not lower its error; left as it was"]
    for member, copy in zip(members, copies, strict=True):
        assert torch.equal(member.read(), copy)


def test_float32_comes_out_the_same_whatever_the_processor_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[tuple[bool, str], Tensor] = {}
    for has in (False, True):
        monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda has=has: has)
        for precision in get_args(Precision):
            stream, members, keep, goals = pruned_block(random_windows(6, 24))
            tune_block(stream, members, keep, goals, BlockTuning(), 0, precision)
            weights = torch.cat([member.read().flatten() for member in members])
            found[has, precision] = weights
    assert torch.equal(found[True, "float32"], found[False, "float32"])
    assert torch.equal(found[False, "auto"], found[False, "float32"])
    assert not torch.equal(found[True, "auto"], found[True, "float32"])


def test_a_plan_carries_the_precision_to_every_way_of_pruning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: True)
    windows, metric = random_windows(6, 24), build_metric("magnitude")

    def weights(precision: Precision, sequential: bool) -> Tensor:
        model = tiny_model("llama")
        layers = prunable_linears(model)
        scoring: Scoring = "sequential" if sequential else "dense"
        plan = PruningPlan.build(0.5, repair="ebft:epochs=1", scoring=scoring, precision=precision)
        prune_model(model, MetricScore(metric), plan, windows=windows)
        return torch.cat([layer.read().flatten() for layer in layers])

    for sequential in (False, True):
        fast, exact = weights("auto", sequential), weights("float32", sequential)
        assert not torch.equal(fast, exact)


@torch.no_grad()
def test_a_few_batches_of_all_the_text_tell_whether_the_error_fell() -> None:
    stream, _, _, goals = pruned_block(random_windows(19, 8))
    exact = [error_of(stream.output(n), goals[n]) for n in range(19)]
    assert _error(stream, goals) == pytest.approx(sum(exact[::3]) / 7, rel=0.02)
    assert _error(stream, goals[:8]) == pytest.approx(sum(exact[:8]) / 8, rel=0.02)
    assert max(exact) > 1.1 * min(exact)


def test_equal_seeds_give_equal_bits_and_others_another_order() -> None:
    found = []
    for seed in (0, 0, 1):
        stream, members, keep, goals = pruned_block(random_windows(6, 24))
        tune_block(stream, members, keep, goals, BlockTuning(), seed)
        found.append(torch.cat([member.read().flatten() for member in members]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_gradient_is_laid_out_like_its_weight_and_leaves_pruned_weights_alone() -> None:
    weight = torch.nn.Parameter(torch.ones(3, 5))
    pruned = torch.rand(3, 5, generator=torch.Generator().manual_seed(4)) < 0.5
    part = Master(weight, weight.detach(), pruned)
    gradient = torch.arange(15.0).view(5, 3).t()
    part.take(gradient.clone())
    assert part.master.grad is not None
    # Fused Adam goes by memory and would give a column's step to a row.
    assert part.master.grad.stride() == weight.stride() != gradient.stride()
    assert torch.equal(part.master.grad, gradient * ~pruned)
    part.take(None)
    assert part.master.grad is None


@torch.no_grad()
@pytest.mark.parametrize("anchor", [0.0, 0.25, 0.5, 1.0])
def test_goals_lie_between_what_a_block_is_given_and_what_the_dense_model_has(
    anchor: float,
) -> None:
    model, windows = tiny_model("llama"), random_windows(4, 12)
    states = model(windows, output_hidden_states=True).hidden_states
    stream = BlockStream(model, windows, batch=2)
    tuning = BlockGoals(stream, BlockTuning(anchor=anchor))
    first = torch.cat(tuning.of_next())
    torch.testing.assert_close(first, states[1])  # both inputs are the same before block 0
    for layer in prunable_linears(model):
        if layer.block == 0:
            layer.zero(torch.rand(layer.shape, generator=torch.Generator().manual_seed(1)) < 0.4)
    stream.advance()
    near = torch.cat(list(stream.outputs()))
    assert (near - states[2]).norm() > 0.05 * states[2].norm()
    wanted = (1 - anchor) * near + anchor * states[2]
    torch.testing.assert_close(torch.cat(tuning.of_next()), wanted)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_any_family_is_tuned_on_the_dense_masks_with_exact_zeros(family: str) -> None:
    model, windows = tiny_model(family), random_windows(4, 16)
    layers = prunable_linears(model)
    dense = collect_statistics(model, windows, needs={"x_norm"})
    score = MetricScore(build_metric("wanda"), dense)
    plan = PruningPlan.build(0.55, allocation="ramp", repair="ebft:epochs=2,rate=0.005")
    keep = masks_from_scores(score, layers, layer_budgets(plan, ModelContext(layers)), plan)
    bare = {layer.name: layer.read() * keep[layer.name] for layer in layers}
    outcome = prune_model(model, score, plan, windows=windows)
    assert outcome.mask_digest == masks_digest(keep)
    assert outcome.zeros == budget_zeros(0.55, sum(layer.numel for layer in layers))
    assert any(not torch.equal(layer.read(), bare[layer.name]) for layer in layers)
    for layer in layers:
        assert not layer.read()[~keep[layer.name]].any()


def test_sequential_pruning_tunes_too() -> None:
    windows = random_windows(8, 24)

    def distance(repair: str) -> float:
        model, dense = tiny_model("llama"), tiny_model("llama")
        plan = PruningPlan.build(0.6, repair=repair)
        outcome = block_by_block(model, windows, build_metric("wanda"), plan)
        layers = prunable_linears(model)
        assert outcome.zeros == sum(int((layer.read() == 0).sum()) for layer in layers)
        with torch.no_grad():
            hidden = model.model(windows).last_hidden_state
            return float((hidden - dense.model(windows).last_hidden_state).square().mean())

    assert distance("ebft:epochs=20") < 0.95 * distance("none")


def test_it_follows_another_repair_and_needs_no_statistics_alone() -> None:
    windows = random_windows(6, 24)
    alone, after = Repair.parse("ebft"), Repair.parse("mrp+ebft")
    assert not alone.needs and after.needs == {"gram"}
    plan = PruningPlan.build(0.5, repair="mrp+ebft")
    assert "gram" not in plan.needs and not replace(plan, repair=alone).needs
    repaired, _ = repaired_model("llama", "walk:mrp", windows)
    both, _ = repaired_model("llama", "mrp+ebft:epochs=1,rate=0.0001", windows)
    plain, _ = repaired_model("llama", "none", windows)
    first = next(iter(repaired))
    assert (both[first] - repaired[first]).norm() < 0.1 * (both[first] - plain[first]).norm()


def test_texts_round_trip() -> None:
    alone = Repair((), BlockTuning(), "block by block")
    assert Repair.parse("ebft") == Repair.parse("walk:ebft") == alone
    for text in ("ebft", "ebft:epochs=2", "mrp+ebft", "dsnot+mrp:damp=0.02+ebft:rate=0.02"):
        repair = Repair.parse(text)
        assert repair.text == text and Repair.parse(f"walk:{text}") == repair


def test_a_tuning_out_of_order_is_refused() -> None:
    with pytest.raises(UsageError, match="order must be 'block by block', not 'at once'"):
        Repair((), BlockTuning())


def test_dense_statistics_of_other_parts_are_still_asked_for() -> None:
    model = tiny_model("llama")
    plan = PruningPlan.build(0.5, allocation="sdsa", repair="ebft")
    assert plan.needs == PruningPlan.build(0.5, allocation="sdsa").needs
    assert collect_statistics(model, random_windows(2, 8), needs=plan.needs) is not None


def test_a_search_may_change_the_numbers_of_what_is_tuned_and_keeps_the_tuning() -> None:
    choices = Choices(("row",), ("uniform",), ("mrp+ebft",), {"mrp": {"damp": (0.001, 0.1)}})
    assert repair_numbers("mrp+ebft:epochs=2", choices) == {"damp": (0.01, (0.001, 0.1))}
    assert with_repair_numbers("mrp+ebft:epochs=2", {"damp": 0.05}) == "mrp:damp=0.05+ebft:epochs=2"
    assert repair_numbers("ebft", choices) == {}


def tuned(family: str, text: str, windows: Tensor) -> tuple[list[Tensor], PruneOutcome]:
    model = tiny_model(family)
    plan = PruningPlan.build(0.5, repair=text, scoring="sequential")
    outcome = prune_model(model, MetricScore(build_metric("wanda")), plan, windows=windows)
    layers = prunable_linears(model)
    assert outcome.zeros == sum(int((layer.read() == 0).sum()) for layer in layers)
    return [layer.read().clone() for layer in layers], outcome


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gemma2"])
def test_passes_are_rounded_on_request_where_the_machine_has_bfloat16(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, found = random_windows(3, 12), []
    for has, text in ((False, "ebft"), (False, "ebft:passes=bfloat16"), (True, "ebft")):
        monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda has=has: has)
        found.append(tuned(family, f"sparsegpt+{text}", windows))
    rounded, outcome = tuned(family, "sparsegpt+ebft:passes=bfloat16", windows)
    assert found[1][1].notes[-1] == "ebft: passes of blocks computed in float32"
    assert outcome.notes[-1] == "ebft: passes of blocks computed in bfloat16"
    for left, right in zip(found[0][0], found[1][0], strict=True):
        assert torch.equal(left, right)
    assert any(not torch.equal(a, b) for a, b in zip(rounded, found[2][0], strict=True))


def test_one_pass_gives_statistics_and_goals() -> None:
    model, windows, calls = tiny_model("llama"), random_windows(4, 12), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    model.model.layers[1].register_forward_pre_hook(count)
    plan = PruningPlan.build(0.5, repair="mrp+ebft:epochs=1", scoring="sequential")
    prune_model(model, MetricScore(build_metric("wanda")), plan, windows=windows)
    # Capture, statistics with what the block gave, the dense model's state, two errors, a step, the
    # way on; and one tells what blocks return.
    assert calls == 7 * len(windows) + 1


def test_a_step_may_take_several_windows() -> None:
    windows = random_windows(4, 12)
    one, _ = tuned("llama", "ebft:epochs=1", windows)
    two, _ = tuned("llama", "ebft:epochs=1,batch=2", windows)
    assert any(not torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert windows_per_batch(windows, 2048, BlockTuning(batch=3)) == 3
