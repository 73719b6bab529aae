"""SparseSwaps: exchange one pruned and one kept weight at a time, exactly, from the Gram matrix."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from autoprune.repair.layer import LayerRepair, Problem
from autoprune.repair.parts import REPAIRS

BATCH_FLOATS = 1 << 23


@REPAIRS.register("sparseswaps")
@dataclass(frozen=True)
class SparseSwaps(LayerRepair):
    """One-swap local search on the mask; weights stay unchanged.

    Zeroing the set P of a row costs ``r G r^T`` with r the pruned weights. With ``g = G r``,
    reviving p and pruning k changes that by
    ``-2 w_p g_p + w_p^2 G_pp + 2 w_k g_k + w_k^2 G_kk - 2 w_p w_k G_pk``. The best swap is made as
    long as it lowers the cost, so the result is never worse than the initial mask. An N:M pattern
    allows swaps only within a group, and all of them are evaluated: i M per row and swap.

    Args:
        swaps: Maximum number of swaps per row.
        candidates: Without a pattern, search pairs among this many best weights to revive and to
            prune; 0 searches all pairs for the exact best swap, at a cost of i^2 per row and swap.
    """

    NAME: ClassVar[str] = "sparseswaps"
    SOURCE: ClassVar[str] = "SparseSwaps, arXiv 2512.10922"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"gram"})
    MOVES_WEIGHTS: ClassVar[bool] = False
    KEEPS_ROWS: ClassVar[bool] = True

    swaps: int = 50
    candidates: int = 32

    def __post_init__(self) -> None:
        self._require("swaps", self.swaps >= 0, "0 or above")
        self._require("candidates", self.candidates >= 0, "0 or above")

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The dense weight on the refined mask."""
        weight, keep, gram = problem.weight, problem.keep.clone(), problem.gram
        width = weight.shape[1]
        if problem.pattern is not None:
            pairs: _Pairs = _InGroups(gram, problem.pattern.of)
        else:
            pairs = _AmongBest(gram, min(self.candidates or width, width))
        batch = max(1, BATCH_FLOATS // pairs.floats)
        for start in range(0, len(weight), batch):
            part = slice(start, start + batch)
            self._refine(weight[part], keep[part], gram, pairs)
        return weight, keep

    def _refine(self, weight: Tensor, keep: Tensor, gram: Tensor, pairs: "_Pairs") -> None:
        """Swap in place until no row gains: weight and keep [b, i]."""
        pull = (weight * ~keep) @ gram
        own = weight.square() * gram.diagonal()
        rows = torch.arange(len(weight), device=weight.device)
        for _ in range(self.swaps):
            w, g, kept = weight[rows], pull[rows], keep[rows]
            revive = (own[rows] - 2 * w * g).masked_fill(kept, float("inf"))
            prune = (own[rows] + 2 * w * g).masked_fill(~kept, float("inf"))
            best, p, k = pairs.best(w, revive, prune)
            # Smaller gains are rounding noise and could be undone and redone forever.
            cost = (w * ~kept * g).sum(dim=1).abs()
            good = best < -1e-6 * cost
            if not bool(good.any()):
                return
            rows, p_good, k_good = rows[good], p[good], k[good]
            keep[rows, p_good], keep[rows, k_good] = True, False
            pull[rows] += weight[rows, k_good].unsqueeze(1) * gram[k_good]
            pull[rows] -= weight[rows, p_good].unsqueeze(1) * gram[p_good]


class _Pairs(Protocol):
    """Pairs of a weight to revive and one to prune, searched for the best."""

    @property
    def floats(self) -> int:
        """Number of floats needed per row."""
        ...

    def best(self, w: Tensor, revive: Tensor, prune: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the swap with the lowest change of cost in each row."""
        ...


@dataclass(frozen=True)
class _AmongBest:
    """Pairs among the ``limit`` best weights of each kind: b limit^2 numbers."""

    gram: Tensor
    limit: int

    @property
    def floats(self) -> int:
        return self.limit**2

    def best(self, w: Tensor, revive: Tensor, prune: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = (c.topk(self.limit, dim=1, largest=False) for c in (revive, prune))
        p, k = first.indices, second.indices
        cross = 2 * w.gather(1, p).unsqueeze(2) * w.gather(1, k).unsqueeze(1)
        change = first.values.unsqueeze(2) + second.values.unsqueeze(1)
        change -= cross * self.gram[p.unsqueeze(2), k.unsqueeze(1)]
        least, where = change.flatten(1).min(dim=1)
        revived = p.gather(1, (where // self.limit).unsqueeze(1)).squeeze(1)
        pruned = k.gather(1, (where % self.limit).unsqueeze(1)).squeeze(1)
        return least, revived, pruned


@dataclass(frozen=True)
class _InGroups:
    """All pairs within each group of ``of`` consecutive inputs: ``b i of`` numbers."""

    gram: Tensor
    of: int

    @property
    def floats(self) -> int:
        return len(self.gram) * self.of

    def best(self, w: Tensor, revive: Tensor, prune: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        groups = torch.arange(len(self.gram), device=w.device).view(-1, self.of)
        inside = self.gram[groups.unsqueeze(2), groups.unsqueeze(1)]  # [i / of, of, of]
        w, revive, prune = (x.view(len(x), -1, self.of) for x in (w, revive, prune))
        change = revive.unsqueeze(3) + prune.unsqueeze(2)  # [b, i / of, revived, pruned]
        change -= 2 * w.unsqueeze(3) * w.unsqueeze(2) * inside
        least, where = change.flatten(1).min(dim=1)
        revived = where // self.of
        pruned = revived // self.of * self.of + where % self.of
        return least, revived, pruned
