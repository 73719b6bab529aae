"""Selection is exact, breaks ties by index and equals a sort-based reference bit by bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.masking import (
    NM,
    keep_joint,
    keep_matrix,
    keep_nm,
    keep_rows,
    nm_quotas,
    select_masks,
)


def reference_prune(row: Tensor, zeros: int) -> Tensor:
    """Sort (score, index) pairs in plain Python and drop the first ones."""
    order = sorted(range(row.numel()), key=lambda i: (float(row[i]), i))
    keep = torch.ones(row.numel(), dtype=torch.bool)
    keep[order[:zeros]] = False
    return keep


@st.composite
def score_and_quota(draw: st.DrawFn) -> tuple[Tensor, int]:
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    seed, levels = draw(st.integers(0, 10_000)), draw(st.sampled_from([2, 3, 10, 10**6]))
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-levels, levels, (rows, columns), generator=generator).float()
    return scores, draw(st.integers(0, rows * columns))


@given(score_and_quota())
@settings(max_examples=150, deadline=None)
def test_matrix_selection_equals_the_sorted_reference(case: tuple[Tensor, int]) -> None:
    scores, zeros = case
    keep = keep_matrix(scores, zeros)
    assert int((~keep).sum()) == zeros
    assert torch.equal(keep.reshape(-1), reference_prune(scores.reshape(-1), zeros))


@given(score_and_quota())
@settings(max_examples=150, deadline=None)
def test_row_selection_equals_the_sorted_reference(case: tuple[Tensor, int]) -> None:
    scores, zeros = case
    keep = keep_rows(scores, zeros)
    base, longer = divmod(zeros, scores.shape[0])
    for index, row in enumerate(scores):
        assert torch.equal(keep[index], reference_prune(row, base + (index < longer)))


@given(score_and_quota(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_joint_selection_equals_one_long_row(case: tuple[Tensor, int], parts: int) -> None:
    scores, zeros = case
    split = scores.tensor_split(min(parts, scores.shape[0]))
    keeps = keep_joint(split, zeros)
    flat = torch.cat([keep.reshape(-1) for keep in keeps])
    assert torch.equal(flat, reference_prune(scores.reshape(-1), zeros))


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(3, 4), NM(4, 8), NM(5, 16)])
def test_nm_zeroes_exactly_n_of_every_m_with_ties_by_index(pattern: NM) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(0, 4, (6, pattern.of * 5), generator=generator).float()
    keep = keep_nm(scores, pattern)
    for row, mask in zip(scores, keep, strict=True):
        for start in range(0, row.numel(), pattern.of):
            part = slice(start, start + pattern.of)
            assert torch.equal(mask[part], reference_prune(row[part], pattern.zeros))


def test_infinite_scores_are_an_order_like_any_other() -> None:
    scores = torch.tensor([[float("inf"), 1.0, float("-inf"), 0.0]])
    assert keep_rows(scores, 2).tolist() == [[True, True, False, False]]
    assert keep_rows(scores[:0], 0).shape == (0, 4)


@pytest.mark.parametrize("group", ["row", "matrix", "block", "global"])
def test_nan_is_refused_and_named(group: str) -> None:
    scores = {"a": torch.ones(2, 4), "b": torch.tensor([[1.0, float("nan")]])}
    with pytest.raises(UsageError, match="b: 1 of 2 scores are NaN"):
        select_masks(scores, {"a": 1, "b": 1}, group, None, {"a": 0, "b": 0})  # type: ignore[arg-type]


def test_low_precision_scores_are_compared_in_float32() -> None:
    scores = torch.tensor([[1.0, 1.0, 2.0, 0.5]], dtype=torch.bfloat16)
    assert keep_rows(scores, 2).tolist() == [[False, True, True, False]]


def test_groups_share_the_summed_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {n: torch.rand(4, 6, generator=generator) * (i + 1) for i, n in enumerate("abcd")}
    quotas = {"a": 10, "b": 5, "c": 7, "d": 3}
    blocks = {"a": 0, "b": 0, "c": 1, "d": 1}
    masks = select_masks(scores, quotas, "block", None, blocks)
    zeros = {name: int((~keep).sum()) for name, keep in masks.items()}
    assert zeros["a"] + zeros["b"] == 15 and zeros["c"] + zeros["d"] == 10
    whole = select_masks(scores, quotas, "global")
    joined = torch.cat([scores[n].reshape(-1) for n in "abcd"])
    kept = torch.cat([whole[n].reshape(-1) for n in "abcd"])
    assert torch.equal(kept, reference_prune(joined, 25))


def test_nm_needs_the_quota_the_pattern_implies() -> None:
    scores = {"a": torch.rand(2, 8)}
    assert nm_quotas({"a": 16}, NM(2, 4)) == {"a": 8}
    with pytest.raises(UsageError, match="allocate uniform"):
        select_masks(scores, {"a": 9}, "row", NM(2, 4))
    with pytest.raises(UsageError, match="a has 8 inputs, not a multiple of 3"):
        select_masks(scores, {"a": 8}, "row", NM(1, 3))
