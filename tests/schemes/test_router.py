"""Routers that skip attention or MLP while a model runs: what they skip, and when they agree."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import autoprune
from autoprune.errors import AutopruneError, UsageError
from autoprune.models.structure import find_blocks
from autoprune.schemes import Gate, Router, build_scheme, shrink, skipped_computations
from autoprune.schemes.plan import SchemePlan, Step
from autoprune.schemes.router import (
    _rates,
    cut,
    first_scores,
    losses_without_parts,
    shifted,
    whole_parts,
)
from autoprune.schemes.surgery import without_blocks
from tests.support.logits import TEXT, logits
from tests.support.tiny_models import random_windows, tiny_model

WINDOWS = random_windows(4, 24)


def fixed(model: PreTrainedModel, *thresholds: float) -> SchemePlan:
    """A plan in which attention and MLP of block n both run above a threshold."""
    weights = torch.randn(model.config.hidden_size + 1, generator=torch.Generator().manual_seed(1))
    pairs = tuple((Gate(weights, at), Gate(weights, at)) for at in thresholds)
    return SchemePlan("router", 0.5, (Step(gates=pairs),), 1, 1)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2", "gpt_neox"])
def test_open_gates_are_the_dense_model_and_closed_ones_remove_the_block(family: str) -> None:
    model = tiny_model(family, num_hidden_layers=3)
    dense = logits(model)
    with Router().masked(model, fixed(model, *(-math.inf,) * 3)):
        assert torch.equal(logits(model), dense)
    with Router().masked(model, fixed(model, -math.inf, math.inf, -math.inf)):
        found = logits(model)
    with without_blocks(model, [1]):
        assert torch.equal(logits(model), found)
    assert not torch.equal(found, dense) and torch.equal(logits(model), dense)


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_the_share_of_the_calibration_text_is_the_declared_one(share: float) -> None:
    model = tiny_model("llama", num_hidden_layers=3)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    made = copy.deepcopy(model)
    plan = shrink(made, Router(steps=3), share, WINDOWS).plan
    logits(made, WINDOWS)
    counts = skipped_computations(made)
    assert counts is not None and counts.taken == 2 * 3 * WINDOWS.numel()
    assert abs(counts.skipped - share * counts.taken) <= 1.0
    runs = torch.tensor(plan.facts["router"]["runs"])
    assert float(runs.mean()) == pytest.approx(1.0 - share, abs=1.0 / counts.taken)
    assert "block part computations, with" in counts.text and "no time is saved" in plan.notes[0]
    # An attention and an MLP are one part each, but not as large.
    layers = [model.get_submodule(f"model.layers.0.{name}") for name in ("self_attn", "mlp")]
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    assert sizes[0] != sizes[1] and counts.multiplied == 3 * WINDOWS.numel() * sum(sizes)
    skipped = torch.tensor(
        [size * (1.0 - runs[:, part].sum() / 3) for part, size in enumerate(sizes)]
    )
    assert counts.spared / counts.multiplied == pytest.approx(
        float(skipped.sum()) / sum(sizes), abs=1e-6
    )
    # Trained beside the model: no weight of it moved, none has a gradient.
    for name, value in made.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(p.grad is None for p in made.parameters())
    again = Router(steps=3).plan(model, WINDOWS, share)
    assert again.to_json() == plan.to_json()
    assert skipped_computations(model) is None


def test_a_decision_is_the_tokens_own_so_that_a_cache_changes_nothing() -> None:
    model = tiny_model("llama", num_hidden_layers=3)
    plan = Router(steps=2).plan(model, WINDOWS, 0.4)
    with Router().masked(model, plan), torch.no_grad():
        whole = logits(model)
        for length in (4, 7):
            torch.testing.assert_close(logits(model, TEXT[:, :length]), whole[:, :length])
        first = model(input_ids=TEXT[:, :5], use_cache=True)
        cache, parts = first.past_key_values, [first.logits]
        for at in range(5, TEXT.shape[1]):
            step = model(input_ids=TEXT[:, at : at + 1], past_key_values=cache, use_cache=True)
            parts.append(step.logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
        some = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
        texts = [model.generate(TEXT, use_cache=use, **some) for use in (True, False)]
    assert torch.equal(*texts)


def without_part(
    model: PreTrainedModel, windows: torch.Tensor, number: int, index: int
) -> torch.Tensor:
    """Log-probabilities of the model without one part, which gives zeros."""
    block = find_blocks(model)[number]
    names = ("mlp",) if index else ("self_attn", "attention", "attn")
    part = next(getattr(block, name) for name in names if hasattr(block, name))

    def nothing(_: object, __: object, output: Any) -> Any:
        whole = isinstance(output, torch.Tensor)
        return output * 0.0 if whole else (output[0] * 0.0, *output[1:])

    handle = part.register_forward_hook(nothing)
    try:
        return logits(model, windows).log_softmax(-1)
    finally:
        handle.remove()


def parts_losses(model: PreTrainedModel, windows: torch.Tensor) -> torch.Tensor:
    """What leaving out each part costs, by whole passes of the model."""
    found = torch.zeros(len(find_blocks(model)), 2)
    dense = logits(model, windows).log_softmax(-1)
    for number in range(len(found)):
        for index in range(2):
            lost = without_part(model, windows, number, index)
            found[number, index] = (dense.exp() * (dense - lost)).sum(-1).mean()
    return found


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_losses_are_those_of_whole_passes_without_a_part(family: str) -> None:
    model, seen = tiny_model(family), list[int]()
    for number, block in enumerate(find_blocks(model)):
        block.get_submodule("mlp").register_forward_hook(lambda *_, n=number: seen.append(n))
    found = losses_without_parts(model, WINDOWS[:2])
    # Blocks before a part run for the dense model alone.
    assert [seen.count(n) for n in range(3)] == [4, 6, 8]
    torch.testing.assert_close(found, parts_losses(model, WINDOWS[:2]), rtol=1e-4, atol=1e-6)


def test_training_pulls_the_share_and_lowers_the_distance() -> None:
    model = tiny_model("llama", num_hidden_layers=3)

    def distance(steps: int) -> float:
        plan = Router(steps=steps, rate=0.05).plan(model, WINDOWS, 0.5)
        dense = logits(model, WINDOWS).log_softmax(-1)
        with Router().masked(model, plan):
            found = logits(model, WINDOWS).log_softmax(-1)
        return float((dense.exp() * (dense - found)).sum(-1).mean())

    assert distance(60) < distance(0)


def test_the_parts_whose_absence_costs_least_start_below_zero() -> None:
    losses = torch.tensor([[9.0, 0.3], [0.1, 0.2], [0.4, 0.5]])
    found = first_scores(losses, 2 / 3)
    assert ((found < 0) == (losses < 0.25)).all()
    # In the order of the losses, whatever their size.
    assert torch.equal(found.flatten().argsort(), losses.flatten().argsort())
    assert torch.equal(found, first_scores(losses**3, 2 / 3))


def test_routers_that_learned_nothing_run_the_dearest_parts_whole() -> None:
    losses = torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    weights = torch.zeros(2, 2, 5)
    weights[..., -1] = first_scores(losses, 0.5)
    gates, runs = whole_parts(weights, 0.5)
    assert runs == [[1.0, 0.0], [0.0, 1.0]]
    inf = math.inf
    assert [[gate.threshold for gate in pair] for pair in gates] == [[-inf, inf], [inf, -inf]]
    for share, count in ((0.0, 0), (0.3, 1), (1.0, 4)):
        assert sum(map(sum, whole_parts(weights, share)[1])) == count


def test_without_steps_the_parts_that_cost_least_are_skipped() -> None:
    model = tiny_model("llama", num_hidden_layers=3)
    plan = Router(steps=0).plan(model, WINDOWS, 0.5)
    cheap = parts_losses(model, WINDOWS[:2]).flatten().argsort()[:3]
    runs = torch.tensor(plan.facts["router"]["runs"]).flatten()
    assert runs[cheap].tolist() == [0.0] * 3 and float(runs.sum()) == 3.0
    made = copy.deepcopy(model)
    Router(steps=0).apply(made, plan)
    logits(made)
    counts = skipped_computations(made)
    assert counts is not None and 2 * counts.skipped == counts.taken == 6 * TEXT.numel()


def test_every_window_counts_alike_in_the_rates_of_a_part() -> None:
    model, windows = tiny_model("llama", num_hidden_layers=2), random_windows(5, 24)
    hidden = model.config.hidden_size
    drawn = torch.randn(2, 2, hidden + 1, generator=torch.Generator().manual_seed(3))
    whole = _rates(model, windows, drawn)
    each = torch.stack([_rates(model, window[None], drawn) for window in windows]).mean(0)
    torch.testing.assert_close(whole, each, rtol=1e-4, atol=1e-6)


def test_thresholds_lie_amid_gaps_and_rates_are_shifted_to_their_mean() -> None:
    scores = torch.tensor([0.5, 2.0, 1.0, 1.0])
    for count, threshold in ((0, math.inf), (1, 1.5), (2, 1.0), (3, 0.75), (4, -math.inf)):
        assert cut(scores, count) == threshold
    found = shifted(torch.tensor([0.1, 0.5, 0.9]), 0.7)
    assert float(found.mean()) == pytest.approx(0.7) and float(found.max()) == 1.0
    assert float(shifted(torch.tensor([0.1, 0.5]), 0.0).mean()) == pytest.approx(0.0, abs=1e-9)


def test_it_is_measured_and_never_saved(tmp_path: Path) -> None:
    says = "no smaller model to save; measure it: autoprune compare MODEL --methods router"
    with pytest.raises(UsageError, match=says):
        autoprune.prune(tmp_path / "none", scheme="router", sparsity=0.25)
    with pytest.raises(UsageError, match="stands alone"):
        build_scheme("depth+router")
    with pytest.raises(UsageError, match="at least 0"):
        build_scheme("router:steps=-1")
    # Bloom adds the residual inside its parts.
    with pytest.raises(AutopruneError, match="take another scheme"):
        Router(steps=1).plan(tiny_model("bloom"), WINDOWS, 0.25)
    model = tiny_model("llama")
    assert Router().plan(model, WINDOWS, 0.0).steps == ()
