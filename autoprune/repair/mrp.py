"""MRP: the exact least-squares repair of all kept weights of a row at once."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.masking.pattern import NM
from autoprune.masking.select import keep_counts, keep_nm
from autoprune.repair.layer import LayerRepair, Problem, damped_cholesky
from autoprune.repair.parts import REPAIRS
from autoprune.repair.subsets import solve_subsets

# 4:8 has 70 choices per group, 8:16 has 12870; beyond this the single-removal score decides.
MOST_CHOICES = 1000


@REPAIRS.register("mrp")
@dataclass(frozen=True)
class Mrp(LayerRepair):
    """Multiple removal problem, solved exactly per row.

    Minimises ``(w' - w) H (w' - w)^T`` over weights that vanish on the pruned set P, with K the
    kept set and ``H`` the damped Gram matrix. The solution has two forms:

    * kept: ``w'_K = H_KK^-1 (w H)_K``
    * pruned: ``w' = w - w_P (A_PP)^-1 A_P,:`` with ``A = H^-1``

    Wide layers are solved in column blocks, one after the other with the rest held fixed (exact
    block coordinate descent, so the error only falls).

    Args:
        damp: Damping in units of the mean diagonal of the Gram matrix.
        form: ``kept``, ``pruned``, or ``auto`` for the smaller system; not read for layers wider
            than ``columns``, which use ``kept``.
        select: ``mask`` keeps the given mask. ``own`` chooses a new one with the same zeros per
            row: by the joint loss ``w_P (A_PP)^-1 w_P`` of all choices in an N:M group, otherwise
            by the single-removal loss ``w_j^2 / A_jj``.
        columns: Widest layer to solve in one piece, and the size of column blocks for wider ones.
        sweeps: Passes over the column blocks of a wide layer.
    """

    NAME: ClassVar[str] = "mrp"
    SOURCE: ClassVar[str] = "Pruning Foundation Models without Retraining, arXiv 2410.15567"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"gram"})
    KEEPS_ROWS: ClassVar[bool] = True

    damp: float = 0.01
    form: Literal["auto", "kept", "pruned"] = "auto"
    select: Literal["mask", "own"] = "mask"
    columns: int = 2048
    sweeps: int = 2

    def __post_init__(self) -> None:
        self._require("damp", self.damp >= 0.0, "0 or above")
        self._require("columns", self.columns >= 1, "1 or above")
        self._require("sweeps", self.sweeps >= 1, "1 or above")

    @property
    def chooses(self) -> bool:
        """Whether it chooses its own mask."""
        return self.select == "own"

    def forgets(self, group: Group) -> bool:
        """True with its own mask, unless the metric distributes zeros among rows."""
        return self.chooses and group == "row"

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Repaired weight on the given mask, or on a better one."""
        weight, keep = problem.weight, problem.keep
        matrix, factor = damped_cholesky(problem, self.damp)
        if self.select == "own":
            inverse = torch.cholesky_inverse(factor)
            keep = choose_mask(weight, keep.sum(dim=1), inverse, problem.pattern)
        if weight.shape[1] > self.columns:
            return self._by_columns(weight, keep, matrix), keep
        kept = int(keep.sum())
        pruned_form = self.form == "pruned" or (self.form == "auto" and 2 * kept > keep.numel())
        if pruned_form:
            return remove_exactly(weight, keep, torch.cholesky_inverse(factor)), keep
        return fit_kept(weight @ matrix, keep, matrix), keep

    def _by_columns(self, weight: Tensor, keep: Tensor, matrix: Tensor) -> Tensor:
        goal = weight @ matrix
        current = weight * keep
        starts = range(0, weight.shape[1], self.columns)
        for _ in range(self.sweeps):
            for start in starts:
                part = slice(start, start + self.columns)
                own = matrix[part, part]
                rest = goal[:, part] - current @ matrix[:, part] + current[:, part] @ own
                current[:, part] = fit_kept(rest, keep[:, part], own)
        return current


def choose_mask(weight: Tensor, kept: Tensor, inverse: Tensor, pattern: NM | None) -> Tensor:
    """Choose the mask that loses least, judged by the inverse Gram matrix A.

    Args:
        weight: [o, i].
        kept: Number of weights kept per row, int64 [o]; not read with an N:M pattern.
        inverse: A, [i, i].
        pattern: If given, the joint loss of every choice in a group is compared.

    Returns:
        Keep mask, bool [o, i].
    """
    single = weight.square() / inverse.diagonal()
    if pattern is None:
        return keep_counts(single, kept)
    if math.comb(pattern.of, pattern.zeros) > MOST_CHOICES:
        return keep_nm(single, pattern)
    choices = torch.tensor(list(combinations(range(pattern.of), pattern.zeros)))  # [c, n]
    choices = choices.to(weight.device)
    keep = torch.ones_like(weight, dtype=torch.bool)
    for start in range(0, weight.shape[1], pattern.of):
        group = slice(start, start + pattern.of)
        part = inverse[group, group]
        systems = torch.linalg.inv(part[choices.unsqueeze(2), choices.unsqueeze(1)])  # [c, n, n]
        lost = weight[:, group][:, choices]  # [o, c, n]
        loss = torch.einsum("ocn,cnm,ocm->oc", lost, systems, lost)
        keep[:, group].scatter_(1, choices[loss.argmin(dim=1)], False)
    return keep


def fit_kept(goal: Tensor, keep: Tensor, matrix: Tensor) -> Tensor:
    """Solve ``w'_K H_KK = goal_K`` for every row.

    Args:
        goal: Right-hand sides ``w H``, [o, i].
        keep: bool [o, i].
        matrix: Positive definite H, [i, i].

    Returns:
        w', [o, i], zero outside the mask.
    """
    return solve_subsets(goal, keep, matrix)


def remove_exactly(weight: Tensor, keep: Tensor, inverse: Tensor) -> Tensor:
    """``w - w_P (A_PP)^-1 A_P,:`` for every row, with A the inverse of H: [o, i] -> [o, i]."""
    multipliers = solve_subsets(weight, ~keep, inverse)
    return (weight - multipliers @ inverse) * keep
