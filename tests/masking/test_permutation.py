"""N:M over a permutation of the inputs: retains more, and leaves the network what it is."""

from itertools import permutations

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.masking import NM, keep_nm, keep_nm_permuted
from autoprune.metrics import build_metric
from tests.support.tiny_models import random_windows, tiny_model


def uneven(rows: int, width: int, seed: int) -> torch.Tensor:
    """Scores whose important columns sit together, as in trained layers."""
    generator = torch.Generator().manual_seed(seed)
    loud = torch.linspace(2.0, -2.0, width).exp()
    return torch.rand(rows, width, generator=generator) * loud


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(4, 8), NM(3, 4), NM(2, 3)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_never_below_the_plain_mask_and_exactly_n_m_in_its_order(pattern: NM, seed: int) -> None:
    scores = uneven(10, 24, seed)
    found = keep_nm_permuted(scores, pattern)
    plain = float((scores.double() * keep_nm(scores, pattern)).sum())
    assert found.retained > plain
    assert found.retained == pytest.approx(float((scores.double() * found.keep).sum()))
    assert torch.equal(found.order.sort().values, torch.arange(24))
    zeros = (~found.keep[:, found.order]).view(10, -1, pattern.of).sum(dim=2)
    assert torch.equal(zeros, torch.full_like(zeros, pattern.zeros))


def test_equal_scores_keep_the_plain_mask() -> None:
    scores = torch.ones(3, 8)
    found = keep_nm_permuted(scores, NM(2, 4))
    assert torch.equal(found.keep, keep_nm(scores, NM(2, 4)))
    assert torch.equal(found.order, torch.arange(8))


@pytest.mark.parametrize("seed", range(5))
def test_near_the_best_of_all_permutations(seed: int) -> None:
    scores, pattern = uneven(4, 6, seed), NM(1, 2)

    def retained(order: tuple[int, ...]) -> float:
        return float(scores[:, list(order)].view(4, 3, 2).amax(dim=2).sum())

    best = max(map(retained, permutations(range(6))))
    plain = retained(tuple(range(6)))
    found = keep_nm_permuted(scores, pattern).retained
    assert plain <= found <= best * (1 + 1e-6)
    assert found - plain >= 0.9 * (best - plain)


def test_folding_the_order_into_the_layer_before_leaves_the_network_alone() -> None:
    model, windows = tiny_model("llama"), random_windows()
    wanda, pattern = build_metric("magnitude"), NM(2, 4)
    masked = {}
    with torch.no_grad():
        for index, block in enumerate(model.model.layers):
            down = block.mlp.down_proj.weight
            found = keep_nm_permuted(wanda.score(down, {}), pattern)
            masked[index] = found
            down.mul_(found.keep)
        before = model(windows).logits
        for index, block in enumerate(model.model.layers):
            order = masked[index].order
            for name in ("gate_proj", "up_proj"):
                getattr(block.mlp, name).weight.copy_(getattr(block.mlp, name).weight[order])
            block.mlp.down_proj.weight.copy_(block.mlp.down_proj.weight[:, order])
            groups = (block.mlp.down_proj.weight == 0).view(16, -1, 4).sum(dim=2)
            assert torch.equal(groups, torch.full_like(groups, 2))
        after = model(windows).logits
    assert torch.allclose(before, after, atol=1e-5)


def test_a_pattern_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="not a multiple of 4"):
        keep_nm_permuted(torch.ones(2, 6), NM(2, 4))
