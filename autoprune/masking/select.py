"""Exact selection of the weights to keep: the largest scores; ties prune the lower index first.

Selection works by threshold and tie repair: one partial sort per row finds the threshold, a
comparison makes the mask, and only rows with ties at the threshold are revisited. On the CPU
numpy's vectorised partition is two to four times faster than ``torch.kthvalue`` or ``topk``.

Shape legend: ``o`` out features (rows), ``i`` in features (columns).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.errors import UsageError
from autoprune.masking.pattern import NM
from autoprune.masking.quotas import nm_quotas, row_quotas

# Up to this size, comparing all pairs of a group beats sorting millions of tiny groups.
PAIRWISE_LIMIT = 8


def check_scores(scores: Tensor, name: str = "layer") -> Tensor:
    """Return scores as float32 (float64 stays); refuse them if one is NaN.

    Raises:
        UsageError: If a score is NaN; says how many.
    """
    scores = scores.detach()
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    # One sum is much cheaper than an element-wise test, and NaN survives it.
    if not bool(torch.isfinite(scores.sum())):
        bad = int(torch.isnan(scores).sum())
        if bad:
            raise UsageError(
                f"{name}: {bad} of {scores.numel()} scores are NaN; a metric must return a number "
                "for every weight (guard divisions and logarithms)"
            )
    return scores


def _thresholds(scores: Tensor, prune: int) -> Tensor:
    """The ``prune``-th smallest value of each row: [rows, columns] -> [rows, 1]."""
    if scores.device.type == "cpu":
        part = np.partition(scores.numpy(), prune - 1, axis=1)
        # A copy, or the threshold column would keep the whole sorted array alive.
        return torch.from_numpy(part[:, prune - 1 : prune].copy())
    return torch.kthvalue(scores, prune, dim=1, keepdim=True).values


def _keep_equal_rows(scores: Tensor, prune: int) -> Tensor:
    """Prune the ``prune`` lowest of every row: [rows, columns] -> bool [rows, columns]."""
    rows, columns = scores.shape
    if prune == 0 or prune == columns or rows == 0:
        return torch.full((rows, columns), prune == 0, dtype=torch.bool, device=scores.device)
    threshold = _thresholds(scores, prune)
    keep = scores > threshold
    tied = (keep.sum(dim=1) != columns - prune).nonzero().squeeze(1)
    if tied.numel():
        part, limit = scores[tied], threshold[tied]
        below, equal = part < limit, part == limit
        missing = prune - below.sum(dim=1, keepdim=True)
        keep[tied] = ~below & ~(equal & (equal.cumsum(dim=1) <= missing))
    return keep


def keep_rows(scores: Tensor, zeros: int) -> Tensor:
    """Keep the best weights, with each output row as its own comparison group.

    Args:
        scores: [o, i], larger means keep.
        zeros: Weights to prune in the layer; rows differ by at most one.

    Returns:
        Keep mask, bool [o, i], with exactly ``zeros`` False.
    """
    scores = check_scores(scores)
    base, longer = row_quotas(zeros, *scores.shape)
    if longer == 0:
        return _keep_equal_rows(scores, base)
    return torch.cat(
        (_keep_equal_rows(scores[:longer], base + 1), _keep_equal_rows(scores[longer:], base))
    )


def keep_matrix(scores: Tensor, zeros: int) -> Tensor:
    """All weights of the layer compete: [o, i] -> bool [o, i] with exactly ``zeros`` False."""
    return keep_joint([scores], zeros)[0]


def keep_joint(scores: Sequence[Tensor], zeros: int) -> list[Tensor]:
    """All weights of several layers compete (one block, or the whole model).

    Args:
        scores: One [o, i] tensor per layer; ties prune the earlier layer first.
        zeros: Weights to prune in all of them together.

    Returns:
        Keep masks in the same order.

    Raises:
        UsageError: If a score is NaN or the quota does not fit.
    """
    checked = [check_scores(part) for part in scores]
    flat = torch.cat([part.reshape(-1) for part in checked]) if len(checked) > 1 else checked[0]
    row_quotas(zeros, 1, flat.numel())
    keep = _keep_equal_rows(flat.reshape(1, -1), zeros).reshape(-1)
    pieces = torch.split(keep, [part.numel() for part in checked])
    return [piece.view(part.shape) for piece, part in zip(pieces, checked, strict=True)]


def keep_nm(scores: Tensor, pattern: NM, name: str = "layer") -> Tensor:
    """Prune the N lowest of every M consecutive inputs of a row: [o, i] -> bool [o, i].

    Raises:
        UsageError: If M does not divide the inputs or a score is NaN.
    """
    pattern.check(name, scores.shape[1])
    scores = check_scores(scores, name)
    groups = scores.reshape(-1, pattern.of)
    if pattern.of > PAIRWISE_LIMIT:
        order = groups.argsort(dim=1, stable=True)
        keep = torch.ones_like(groups, dtype=torch.bool)
        return keep.scatter_(1, order[:, : pattern.zeros], False).view(scores.shape)
    columns = groups.t().contiguous()
    rank = torch.zeros(columns.shape, dtype=torch.int8, device=scores.device)
    for left in range(pattern.of):
        for right in range(left + 1, pattern.of):
            first = columns[left] <= columns[right]
            rank[right] += first
            rank[left] += ~first
    return (rank >= pattern.zeros).t().reshape(scores.shape)


def select_masks(
    scores: Mapping[str, Tensor],
    quotas: Mapping[str, int],
    group: Group,
    pattern: NM | None = None,
    blocks: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Masks for several layers at once.

    Args:
        scores: [o, i] per layer, larger means keep.
        quotas: Zeros per layer. For ``block`` and ``global``, only their sum matters.
        group: Which weights compete.
        pattern: N:M pattern, whose groups are then the comparison groups.
        blocks: Block index per layer, needed for group ``block``.

    Returns:
        Keep mask per layer, bool [o, i].

    Raises:
        UsageError: If a score is NaN, a quota does not fit or the pattern does not divide a layer.
    """
    for name, part in scores.items():
        check_scores(part, name)
    if pattern is not None:
        numels = {name: part.numel() for name, part in scores.items()}
        masks = {name: keep_nm(part, pattern, name) for name, part in scores.items()}
        if dict(quotas) != nm_quotas(numels, pattern):
            raise UsageError(f"pattern {pattern} fixes the zeros of every layer; allocate uniform")
        return masks
    if group == "row":
        return {name: keep_rows(part, quotas[name]) for name, part in scores.items()}
    if group == "matrix":
        return {name: keep_matrix(part, quotas[name]) for name, part in scores.items()}
    if group == "block" and blocks is None:
        raise UsageError("comparison group 'block' needs the block index of every layer")
    members: dict[int, list[str]] = {}
    for name in scores:
        members.setdefault(blocks[name] if group == "block" and blocks else 0, []).append(name)
    result: dict[str, Tensor] = {}
    for names in members.values():
        zeros = sum(quotas[name] for name in names)
        result.update(zip(names, keep_joint([scores[n] for n in names], zeros), strict=True))
    return {name: result[name] for name in scores}


def keep_counts(scores: Tensor, kept: Tensor) -> Tensor:
    """Keep a given number of weights in each row: scores [o, i], kept int64 [o] -> bool [o, i].

    For weight repair, which must keep the row budgets of an earlier selection. Rows of equal count
    are handled together.

    Raises:
        UsageError: If a score is NaN.
    """
    scores = check_scores(scores)
    keep = torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
    for count in torch.unique(kept).tolist():
        rows = (kept == count).nonzero().squeeze(1)
        keep[rows] = _keep_equal_rows(scores[rows], scores.shape[1] - count)
    return keep
