"""ALPS: choose mask and weights together by ADMM on the layer's output error."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from autoprune.masking.pattern import NM
from autoprune.masking.select import keep_counts, keep_nm
from autoprune.precision import in_float64
from autoprune.repair.layer import LayerRepair, Problem, damped_cholesky, output_errors
from autoprune.repair.mrp import fit_kept
from autoprune.repair.parts import REPAIRS

START_RHO = 0.1
CHECK_EVERY = 3
PATIENCE = 30
SETTLED = 3e-4
GRADIENT_STEPS = 10


@REPAIRS.register("alps")
@dataclass(frozen=True)
class Alps(LayerRepair):
    """ADMM under a cardinality constraint, then an exact fit on the support found.

    Columns are scaled so that the Gram matrix H has a unit diagonal. Then, with D the current
    sparse weight, ``B = (H + rho I)^-1 (H W - V + rho D)``, ``D = top-k(B + V / rho)``,
    ``V += rho (B - D)``. Every third step, rho grows by a factor of 1.3, 1.2 or 1.1 if the support
    changed by more than 10 %, more than 0.5 % or less; until it first changes by more than 0.5 %,
    rho is divided by 5 and the steps restart. Every row keeps as many weights as in the given mask;
    N:M patterns are projected within groups.

    Departures from the paper:

    * A change of the support counts the weights that entered it, not also those that left, as a
      share of the kept ones; the first is counted from the given mask.
    * After 30 steps, it stops at the first change below 0.03 %.
    * An exact least-squares solution replaces the final conjugate gradient, unless ``fit`` says
      otherwise, and a row keeps its given mask if that fits better.

    Args:
        damp: Damping in units of the mean diagonal of the Gram matrix.
        iterations: Maximum number of ADMM steps.
        fit: Fit on the support: ``exact``, or ten steps of ``gradient``, conjugate and
            preconditioned by the diagonal as in the paper, in about half of the time.
    """

    NAME: ClassVar[str] = "alps"
    SOURCE: ClassVar[str] = "ALPS, arXiv 2406.07831"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"gram"})
    KEEPS_ROWS: ClassVar[bool] = True

    damp: float = 0.01
    iterations: int = 300
    fit: Literal["exact", "gradient"] = "exact"

    def __post_init__(self) -> None:
        self._require("damp", self.damp > 0.0, "above 0")
        self._require("iterations", self.iterations >= 1, "1 or above")

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Weight and mask found by ADMM, fitted exactly."""
        weight = problem.weight
        gram, _ = damped_cholesky(problem, self.damp)
        scale = gram.diagonal().sqrt()
        matrix = gram / scale / scale.unsqueeze(1)
        scaled = weight * scale
        keep = self._support(scaled, problem.keep, matrix, problem.pattern)
        goal = scaled @ matrix
        fitted = self._fitted(scaled, goal, keep, matrix)
        given = self._fitted(scaled, goal, problem.keep, matrix)
        better = output_errors(fitted - scaled, matrix) < output_errors(given - scaled, matrix)
        found = better.unsqueeze(1)
        return torch.where(found, fitted, given) / scale, torch.where(found, keep, problem.keep)

    def _fitted(self, weight: Tensor, goal: Tensor, keep: Tensor, matrix: Tensor) -> Tensor:
        if self.fit == "exact":
            return fit_kept(goal, keep, matrix)
        return approach_kept(goal, keep, matrix, weight * keep, GRADIENT_STEPS)

    def _support(self, weight: Tensor, keep: Tensor, matrix: Tensor, pattern: NM | None) -> Tensor:
        values, vectors = torch.linalg.eigh(in_float64(matrix))
        values, vectors = values.to(weight), vectors.to(weight)
        goal = weight @ matrix
        counts = keep.sum(dim=1)
        sparse, dual, rho = weight, torch.zeros_like(weight), START_RHO
        size, moved = max(int(counts.sum()), 1), False
        reference = keep
        for step in range(1, self.iterations + 1):
            right = goal - dual + rho * sparse
            free = ((right @ vectors) / (values + rho)) @ vectors.t()
            target = free + dual / rho
            if pattern is None:
                keep = keep_counts(target.abs(), counts)
            else:
                keep = keep_nm(target.abs(), pattern)
            sparse = target * keep
            dual += rho * (free - sparse)
            if step % CHECK_EVERY:
                continue
            change = int((keep & ~reference).sum()) / size
            reference = keep
            if step >= PATIENCE and change < SETTLED:
                break
            moved = moved or change > 0.005
            if moved:
                rho *= _growth(change)
            else:
                sparse, dual, rho = weight, torch.zeros_like(weight), rho / 5.0
        return keep


def approach_kept(goal: Tensor, keep: Tensor, matrix: Tensor, start: Tensor, steps: int) -> Tensor:
    """Approach the solution of ``w'_K H_KK = goal_K`` for every row by conjugate gradients.

    Args:
        goal: Right-hand sides ``w H``, [o, i].
        keep: bool [o, i].
        matrix: Positive definite H with a unit diagonal, [i, i].
        start: First guess, [o, i], zero outside the mask.
        steps: Products with H, at most; the error never grows from one to the next.

    Returns:
        w', [o, i], zero outside the mask.
    """
    found = start.clone()
    rest = (goal - found @ matrix) * keep
    direction = rest.clone()
    size = rest.square().sum(dim=1, keepdim=True)
    # Rows that are solved have no direction left: 0 / 0 would turn them into NaN.
    tiny = torch.finfo(size.dtype).tiny
    for _ in range(steps):
        image = (direction @ matrix) * keep
        pace = size / (direction * image).sum(dim=1, keepdim=True).clamp_min(tiny)
        found += pace * direction
        rest -= pace * image
        left = rest.square().sum(dim=1, keepdim=True)
        direction = rest + left / size.clamp_min(tiny) * direction
        size = left
    return found


def _growth(change: float) -> float:
    if change > 0.1:
        return 1.3
    return 1.2 if change > 0.005 else 1.1
