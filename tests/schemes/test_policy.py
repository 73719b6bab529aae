"""Policy gradient: the estimator on all masks of a toy, the budget, and useful units in a model."""

from collections.abc import Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.schemes import build_scheme
from autoprune.schemes.policy import (
    EDGE,
    learn,
    mask_gradient,
    masked_loss,
    onto_budget,
    start_from,
)
from autoprune.schemes.surgery import written
from tests.support.tiny_models import random_windows, tiny_model


def test_the_estimator_is_the_exact_gradient_in_expectation() -> None:
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(5, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    masks = torch.tensor(list(product([0.0, 1.0], repeat=5)), dtype=torch.float64)
    losses = torch.rand(32, generator=generator, dtype=torch.float64) * 5

    def chances(p: Tensor) -> Tensor:
        return (masks * p + (1 - masks) * (1 - p)).prod(1)

    wanted = torch.func.grad(lambda p: (chances(p) * losses).sum())(keep)
    weights = chances(keep)
    found = sum(
        weights[a] * weights[b] * mask_gradient(losses[[a, b]], masks[[a, b]], keep)
        for a in range(32)
        for b in range(32)
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_the_budget_is_the_nearest_one() -> None:
    generator = torch.Generator().manual_seed(1)
    for count in (1, 7, 13, 19):
        values = torch.randn(20, generator=generator, dtype=torch.float64)
        found = onto_budget(values, count)
        assert float(found.sum()) == pytest.approx(count, abs=1e-9)
        assert found.min() >= EDGE and found.max() <= 1 - EDGE
        torch.testing.assert_close(onto_budget(found, count), found)
        best = (found - values).square().sum()
        for _ in range(20):
            other = torch.rand(20, generator=generator, dtype=torch.float64)
            other = onto_budget(other * 4 - 2, count)
            assert (other - values).square().sum() >= best - 1e-9
    scores = torch.randn(20, generator=generator, dtype=torch.float64)
    assert torch.equal(start_from(scores, 9).argsort(), scores.argsort())


@pytest.mark.parametrize("seed", range(5))
def test_useful_channels_stay(seed: int) -> None:
    # Half of the columns that read the channels are zero; starting from random scores, nothing but
    # the loss says which.
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 16, generator=generator, dtype=torch.float64)
    weight /= weight.norm(dim=0)
    weight[:, ::2] = 0.0
    x = torch.randn(64, 16, generator=generator, dtype=torch.float64)

    def loss_of(_: int, masks: Sequence[Tensor]) -> float:
        return float(((x * masks[0] - x) @ weight.T).square().sum(1).mean())

    start = start_from(torch.rand(16, generator=generator, dtype=torch.float64), 8)
    drawn = {"steps": 100, "samples": 8, "rate": 0.1, "generator": generator}
    (learned,) = learn(loss_of, [start], [8], **drawn)
    assert sorted(learned.topk(8).indices.tolist()) == list(range(1, 16, 2))


def test_a_models_units_are_learned_by_forward_passes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, windows = tiny_model("llama", head_dim=6), random_windows(4, 10)
    layers, state = model.model.layers, {k: v.clone() for k, v in model.state_dict().items()}
    monkeypatch.setattr(torch.autograd, "backward", None)
    mask, groups = torch.ones(24, dtype=torch.float64), torch.tensor([0.0, 1.0])
    mask[[2, 7]] = 0.0
    readers = [layers[1].mlp.down_proj, layers[0].self_attn.o_proj]
    found = masked_loss(model, windows, readers)(5, [mask, groups])
    new = {
        "model.layers.1.mlp.down_proj.weight": readers[0].weight.detach() * mask,
        "model.layers.0.self_attn.o_proj.weight": readers[1].weight.detach()
        * groups.repeat_interleave(12),
    }
    with written(model, new):
        (wanted,) = evaluate_windows(model, windows[1:2]).nll
    assert found == pytest.approx(wanted, rel=1e-5)
    scheme = build_scheme("width:search=policy,steps=3,rate=5,fit=false")
    plan, other = (scheme.plan(model, windows, 0.5, seed=seed) for seed in (0, 1))
    plain = build_scheme("width:fit=false").plan(model, windows, 0.5)
    assert plan.after == plain.after and plan.steps[0].neurons != plain.steps[0].neurons
    assert plan.steps[0].neurons == scheme.plan(model, windows, 0.5).steps[0].neurons
    assert plan.steps[0].neurons != other.steps[0].neurons
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="2 or above"):
        build_scheme("width:search=policy,samples=1")
    assert build_scheme("width:search=policy,score=magnitude,fit=false").reads_text
