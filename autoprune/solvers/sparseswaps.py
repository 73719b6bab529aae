"""SparseSwaps: exchange one pruned and one kept weight at a time, exactly, from the Gram matrix."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.masking.pattern import NM
from autoprune.solvers.solver import SOLVERS, Problem, Solver

BATCH_FLOATS = 1 << 23


@SOLVERS.register("sparseswaps")
@dataclass(frozen=True)
class SparseSwaps(Solver):
    """One-swap local search on the mask; weights stay.

    Zeroing the set P of a row costs ``r G r^T`` with r the pruned weights. With ``g = G r``,
    reviving p and pruning k changes that by
    ``-2 w_p g_p + w_p^2 G_pp + 2 w_k g_k + w_k^2 G_kk - 2 w_p w_k G_pk``. The best swap is made
    while it lowers the cost, so the result is never worse than the mask it starts from.

    Args:
        swaps: Most swaps per row.
        candidates: Pairs are searched among this many best weights to revive and to prune; 0
            searches all pairs, the exact best swap, at a cost of i^2 per row and swap.
    """

    NAME: ClassVar[str] = "sparseswaps"
    SOURCE: ClassVar[str] = "SparseSwaps, arXiv 2512.10922"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"gram"})

    swaps: int = 50
    candidates: int = 32

    def __post_init__(self) -> None:
        self._require("swaps", self.swaps >= 0, "0 or above")
        self._require("candidates", self.candidates >= 0, "0 or above")

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The dense weight on the refined mask."""
        weight, keep, gram = problem.weight, problem.keep.clone(), problem.gram
        width = weight.shape[1]
        # A swap inside a group is the only one an N:M pattern allows, so all pairs are looked at.
        limit = width if problem.pattern else min(self.candidates or width, width)
        batch = max(1, BATCH_FLOATS // (limit * limit))
        for start in range(0, len(weight), batch):
            part = slice(start, start + batch)
            self._refine(weight[part], keep[part], gram, limit, problem.pattern)
        return weight, keep

    def _refine(
        self, weight: Tensor, keep: Tensor, gram: Tensor, limit: int, pattern: NM | None
    ) -> None:
        """Swap in place until no row gains: weight and keep [b, i]."""
        pull = (weight * ~keep) @ gram
        own = weight.square() * gram.diagonal()
        rows = torch.arange(len(weight), device=weight.device)
        for _ in range(self.swaps):
            w, g, kept = weight[rows], pull[rows], keep[rows]
            revive = (own[rows] - 2 * w * g).masked_fill(kept, float("inf"))
            prune = (own[rows] + 2 * w * g).masked_fill(~kept, float("inf"))
            first, second = (c.topk(limit, dim=1, largest=False) for c in (revive, prune))
            p, k = first.indices, second.indices
            cross = 2 * w.gather(1, p).unsqueeze(2) * w.gather(1, k).unsqueeze(1)
            change = first.values.unsqueeze(2) + second.values.unsqueeze(1)
            change -= cross * gram[p.unsqueeze(2), k.unsqueeze(1)]
            if pattern is not None:
                same = (p // pattern.of).unsqueeze(2) == (k // pattern.of).unsqueeze(1)
                change.masked_fill_(~same, float("inf"))
            best, where = change.flatten(1).min(dim=1)
            # Smaller gains are rounding, and could be undone and redone for ever.
            cost = (w * ~kept * g).sum(dim=1).abs()
            good = best < -1e-6 * cost
            if not bool(good.any()):
                return
            p_good = p.gather(1, (where // limit).unsqueeze(1))[good].squeeze(1)
            k_good = k.gather(1, (where % limit).unsqueeze(1))[good].squeeze(1)
            rows = rows[good]
            keep[rows, p_good], keep[rows, k_good] = True, False
            pull[rows] += weight[rows, k_good].unsqueeze(1) * gram[k_good]
            pull[rows] -= weight[rows, p_good].unsqueeze(1) * gram[p_good]
