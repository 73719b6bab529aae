"""SparseGPT: Optimal Brain Surgeon by columns, each column's error pushed to the right."""

import threading
import weakref
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.masking.quotas import layer_quotas
from autoprune.masking.select import keep_matrix, keep_nm
from autoprune.repair.layer import LayerRepair, Problem, damped_cholesky
from autoprune.repair.parts import REPAIRS


@REPAIRS.register("sparsegpt")
@dataclass(frozen=True)
class SparseGpt(LayerRepair):
    """The OBS column sweep with blocked updates.

    With U the upper Cholesky factor of the inverse damped Gram matrix, pruning column j leaves the
    error ``e = (w_j - q_j) / U_jj``, and the columns to its right take ``- e U_j,:``.

    Args:
        damp: Damping in units of the mean diagonal of the Gram matrix.
        columns: Columns per block of the sweep.
        select: ``mask`` keeps the given mask; ``own`` chooses a new one by ``w^2 / U_jj^2`` from
            the already updated weights, over each column block (or N:M group), with the mask's
            number of zeros.
    """

    NAME: ClassVar[str] = "sparsegpt"
    SOURCE: ClassVar[str] = "SparseGPT, arXiv 2301.00774"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"gram"})

    damp: float = 0.01
    columns: int = 128
    select: Literal["mask", "own"] = "mask"

    def __post_init__(self) -> None:
        self._require("damp", self.damp >= 0.0, "0 or above")
        self._require("columns", self.columns >= 1, "1 or above")

    @property
    def chooses(self) -> bool:
        """Whether it chooses its own mask."""
        return self.select == "own"

    def forgets(self, group: Group) -> bool:
        """True with its own mask, unless the metric distributes zeros among layers."""
        return self.chooses and group in ("row", "matrix")

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Swept weight, and the mask it was swept with."""
        upper = inverse_factor(problem, self.damp)
        weight, keep = problem.weight.clone(), problem.keep.clone()
        rows, width = weight.shape
        size = self._block_size(problem)
        starts = list(range(0, width, size))
        numels = {str(s): rows * min(size, width - s) for s in starts}
        share = int((~keep).sum()) / keep.numel()
        zeros = layer_quotas(dict.fromkeys(numels, share), numels, share)
        for start in starts:
            part = slice(start, min(start + size, width))
            if self.select == "own" and problem.pattern is None:
                saliency = (weight[:, part] / upper.diagonal()[part]).square()
                keep[:, part] = keep_matrix(saliency, zeros[str(start)])
            errors = self._sweep(weight[:, part], keep[:, part], upper[part, part], problem)
            weight[:, part.stop :] -= errors @ upper[part, part.stop :]
        return weight, keep

    def _block_size(self, problem: Problem) -> int:
        of = problem.pattern.of if problem.pattern else 1
        return max(self.columns // of, 1) * of

    def _sweep(self, weight: Tensor, keep: Tensor, upper: Tensor, problem: Problem) -> Tensor:
        """Sweep one block in place: weight and keep [o, c], upper [c, c] -> errors [o, c].

        When its turn comes, a column collects the errors of earlier columns in one matrix-vector
        product; updating all later columns each time would double the memory traffic. Works on the
        transpose, where a column is contiguous.
        """
        current = weight.t().contiguous()
        errors = torch.zeros_like(current)
        diagonal = upper.diagonal().unsqueeze(1)
        shares = (~keep).t() / diagonal
        pattern = problem.pattern if self.select == "own" else None
        for column in range(len(current)):
            if pattern is not None and column % pattern.of == 0:
                group = slice(column, column + pattern.of)
                ready = current[group] - upper[:column, group].t() @ errors[:column]
                keep[:, group] = keep_nm((ready / diagonal[group]).square().t(), pattern)
                shares[group] = (~keep[:, group]).t() / diagonal[group]
            if column:
                before = errors[:column].t()
                current[column].addmv_(before, upper[:column, column], alpha=-1.0)
            torch.mul(current[column], shares[column], out=errors[column])
        weight.copy_(current.t() * keep)
        return errors.t()


def inverse_factor(problem: Problem, damp: float) -> Tensor:
    """Upper U with ``U^T U`` the inverse of the damped Gram matrix, [i, i].

    With M the lower Cholesky factor of the matrix with rows and columns reversed, U is the inverse
    of M, reversed back: one factorisation and one triangular solve, without forming the inverse.
    Consecutive layers with a common input (q, k and v; gate and up) share it while their Gram
    matrix is one tensor: on an accelerator each layer gets a copy of it, and so its own factor.
    """
    gram, first = problem.gram, len(problem.notes)
    known = _latest.get(gram, damp)
    if known is None:
        turned = {**problem.stats, "gram": gram.flip(0, 1)}
        _, factor = damped_cholesky(replace(problem, stats=turned), damp)
        identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        upper: Tensor = inverse.flip(0, 1)
        _latest.keep(gram, damp, upper, problem.notes[first:])
        return upper
    problem.notes.extend(known.notes)
    return known.upper


@dataclass(frozen=True)
class _Factor:
    gram: "weakref.ref[Tensor]"
    version: int
    damp: float
    upper: Tensor
    notes: list[str]


class _Latest(threading.local):
    """The last computed factor, identified by the very tensor it was computed from."""

    factor: _Factor | None = None

    def get(self, gram: Tensor, damp: float) -> _Factor | None:
        known = self.factor
        if known is None or known.gram() is not gram or known.version != gram._version:
            self.factor = None  # another matrix follows, so its memory can go
            return None
        return known if known.damp == damp else None

    def keep(self, gram: Tensor, damp: float, upper: Tensor, notes: list[str]) -> None:
        # Another thread may free the matrix, so the callback holds this thread's attributes.
        own = self.__dict__
        matrix = weakref.ref(gram, lambda _: own.pop("factor", None))
        self.factor = _Factor(matrix, gram._version, damp, upper, notes)


_latest = _Latest()
