"""Experts skipped while a model runs: which ones, how many, and that no folder is made of it."""

import copy
import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import autoprune
from autoprune.bench.smaller import Shrinking
from autoprune.errors import UsageError
from autoprune.models.structure import find_blocks
from autoprune.names import MEASURED
from autoprune.schemes import SCHEMES, Skip, build_scheme, shrink, skipped_computations
from autoprune.schemes.plan import SchemePlan, Step
from autoprune.schemes.skip import ratios, threshold
from flows.prune.params import PruneParams
from tests.support.logits import logits
from tests.support.tiny_models import random_windows, tiny_model

WINDOWS = random_windows(4, 24)


def skipping(model: PreTrainedModel, beta: float) -> torch.Tensor:
    step = Step(skip_below=(beta,) * len(find_blocks(model)))
    with Skip().masked(model, SchemePlan("skip", 0.0, (step,), 1, 1)):
        return logits(model)


def test_the_second_expert_goes_below_the_median_ratio_of_its_block() -> None:
    model = tiny_model("mixtral", num_hidden_layers=1)
    plan = Skip().plan(model, WINDOWS, 0.25)
    mlp, seen = find_blocks(model)[0].mlp, []
    mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    mlp.register_forward_hook(lambda _, __, out: seen.append(out))
    logits(model, WINDOWS)
    top, numbers = torch.softmax(seen[0].flatten(0, 1) @ mlp.gate.weight.T, -1).topk(2)
    ratio = (top[:, 1] / top[:, 0]).double().detach()
    (beta,) = plan.steps[0].skip_below
    assert beta == pytest.approx(float(ratio.sort().values[len(ratio) // 2]))
    seen.clear()
    with Skip().masked(model, plan):
        logits(model, WINDOWS)
    # By hand: the first expert alone, with all of the weight, or both.
    x, out = (value.flatten(0, 1) for value in seen)
    for token, given, pair, weights, lesser in zip(x, out, numbers, top, ratio, strict=True):
        if abs(float(lesser) / beta - 1.0) < 1e-4:
            continue  # the token at the threshold may be rounded to its other side
        total = torch.zeros_like(token)
        shares = weights / weights.sum() if lesser > beta else torch.tensor([1.0, 0.0])
        for expert, share in zip(pair, shares, strict=True):
            gate, up = (mlp.experts.gate_up_proj[expert] @ token).chunk(2)
            total += share * (mlp.experts.down_proj[expert] @ (torch.nn.functional.silu(gate) * up))
        torch.testing.assert_close(given, total, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss"])
def test_nothing_half_and_all_of_the_lesser_experts(family: str) -> None:
    model = tiny_model(family)
    dense = logits(model)
    assert torch.allclose(skipping(model, 0.0), dense, atol=1e-5)
    made = copy.deepcopy(model)
    plan = shrink(made, Skip(), 0.25, WINDOWS).plan
    logits(made, WINDOWS)
    counts = skipped_computations(made)
    assert counts is not None and counts.taken == sum(
        2 * WINDOWS.numel() for beta in plan.steps[0].skip_below if beta is not None
    )
    # Tokens at the threshold may be rounded to its other side.
    assert counts.skipped == pytest.approx(counts.taken / 4, rel=0.03)
    assert f"of {counts.taken} expert computations" in counts.text
    assert not torch.allclose(logits(made), dense, atol=1e-3)
    # All of them: no ratio is above 1.
    with Skip().masked(model, Skip().plan(model, WINDOWS, 0.5)):
        alone = logits(model)
    torch.testing.assert_close(alone, skipping(model, 1.0 + 1e-9))
    assert torch.equal(logits(model), dense) and skipped_computations(model) is None


def test_of_several_experts_the_lesser_ones_go_together() -> None:
    weights = torch.tensor([[0.1, 0.6, 0.3], [0.34, 0.33, 0.33]])
    expected = torch.tensor([[0.4 / 0.6, 0.1 / 0.9], [0.66 / 0.34, 0.33 / 0.67]])
    found = ratios(weights)
    torch.testing.assert_close(found.float(), expected)
    # So many lie below: none, the smallest, all.
    for share, below in ((0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)):
        assert int((found < threshold(found, share)).sum()) == below
    assert math.isfinite(threshold(found, 1.0))


def test_it_is_measured_and_never_saved(tmp_path: Path) -> None:
    assert all(name in SCHEMES for name in MEASURED)
    says = "no smaller model to save; measure it: autoprune compare MODEL --methods skip"
    with pytest.raises(UsageError, match=says):
        autoprune.prune(tmp_path / "none", scheme="skip", sparsity=0.25)
    with pytest.raises(UsageError, match=says):
        PruneParams(model="none", scheme="skip", sparsity=0.25).check()
    with pytest.raises(UsageError, match="stands alone"):
        build_scheme("depth+skip")
    assert Shrinking.names("skip")
    with pytest.raises(UsageError, match=r"takes 2 experts .* at most 0\.5"):
        Skip().plan(tiny_model("mixtral"), WINDOWS, 0.6)
