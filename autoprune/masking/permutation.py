"""Regroup input features so that an N:M pattern costs less.

N:M prunes N of every M *consecutive* inputs, and which inputs are neighbours is an accident of
training. With P a permutation, ``W x = (W P)(P^T x)``: the groups may be formed over any order of
the inputs without changing the layer's function. The order is chosen in the two steps of RIA (arXiv
2402.16902, section 3.2): deal the features by importance, then improve one place of every group at
a time by linear-sum assignment.

Hardware that skips zeros needs the order applied: reorder the columns of W and the rows of the
layers that produce its input (gate and up before down, v before o), or permute activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.masking.pattern import NM
from autoprune.masking.select import check_scores, keep_nm
from autoprune.precision import in_float64, where_float64_is

SWEEPS = 2
# Rows whose gains are computed at once, so that the working set stays near this many numbers.
CHUNK = 1 << 24


@dataclass(frozen=True)
class PermutedMask:
    """An N:M mask over an order of the inputs.

    Args:
        keep: bool [o, i], columns in their original order.
        order: int64 [i]: ``keep[:, order]`` has exactly N zeros in every M consecutive inputs.
        retained: Sum of the kept scores.
    """

    keep: Tensor
    order: Tensor
    retained: float


def keep_nm_permuted(scores: Tensor, pattern: NM, name: str = "layer") -> PermutedMask:
    """Find an N:M mask over permuted inputs that retains more of the scores.

    Args:
        scores: Finite scores, [o, i], larger means keep.
        pattern: N:M.
        name: Layer, for messages.

    Returns:
        A mask that retains at least as much as :func:`keep_nm` does without a permutation.

    Raises:
        UsageError: If M does not divide the inputs or a score is NaN.
    """
    pattern.check(name, scores.shape[1])
    scores = check_scores(scores, name)
    identity = torch.arange(scores.shape[1], device=scores.device)
    best = _masked(scores, identity, pattern)
    for order in (identity, _dealt(scores, pattern)):
        for _ in range(SWEEPS):
            order = _reassigned(scores, order, pattern)
        found = _masked(scores, order, pattern)
        best = max(best, found, key=lambda mask: mask.retained)
    return best


def _masked(scores: Tensor, order: Tensor, pattern: NM) -> PermutedMask:
    keep = torch.empty_like(scores, dtype=torch.bool)
    keep[:, order] = keep_nm(scores[:, order], pattern)
    return PermutedMask(keep, order, float(in_float64(scores * keep).sum()))


def _dealt(scores: Tensor, pattern: NM) -> Tensor:
    """Features by falling importance, dealt to the groups forwards and backwards in turn."""
    ranked = scores.sum(dim=0).argsort(descending=True, stable=True).view(pattern.of, -1)
    ranked[1::2] = ranked[1::2].flip(1)
    return ranked.t().reshape(-1)


def _reassigned(scores: Tensor, order: Tensor, pattern: NM) -> Tensor:
    """One sweep: for each place, reassign the features at that place among all groups."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    groups = order.view(-1, pattern.of).clone()
    kept = pattern.of - pattern.zeros
    for place in range(pattern.of):
        others = torch.cat((groups[:, :place], groups[:, place + 1 :]), dim=1)
        # With the others fixed, a row keeps the newcomer if it exceeds the others' kept-th score.
        threshold = scores[:, others].topk(kept, dim=2).values[:, :, -1]  # [o, g]
        newcomers = scores[:, groups[:, place]]  # [o, g]
        gains = _gains(threshold, newcomers)
        _, chosen = linear_sum_assignment(gains.cpu().numpy(), maximize=True)
        groups[:, place] = groups[:, place][torch.as_tensor(chosen, device=groups.device)]
    return groups.reshape(-1)


def _gains(threshold: Tensor, newcomers: Tensor) -> Tensor:
    """Score that group g gains with newcomer c, summed over rows, [g, c]."""
    count = threshold.shape[1]
    total = in_float64(torch.zeros(count, count, device=threshold.device))
    step = max(CHUNK // count**2, 1)
    for start in range(0, len(threshold), step):
        part = slice(start, start + step)
        larger = torch.maximum(threshold[part].unsqueeze(2), newcomers[part].unsqueeze(1))
        gained = where_float64_is(larger - threshold[part].unsqueeze(2))
        total += gained.sum(dim=0, dtype=torch.float64)
    return total
