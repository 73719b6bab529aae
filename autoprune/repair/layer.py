"""Weight repair: after masking, adjust the kept weights to preserve the layer's output."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.errors import UsageError
from autoprune.masking.pattern import NM
from autoprune.repair.parts import RepairPart

ESCALATION = 10.0
LARGEST_DAMPING = 10.0


@dataclass(frozen=True)
class Repaired:
    """Result of repairing one layer.

    Args:
        weight: [o, i], exactly 0 where ``keep`` is False.
        keep: bool [o, i]; repairs that refine masks change it, never the number of zeros.
        notes: Messages for the user: damping raised, rows only zeroed.
    """

    weight: Tensor
    keep: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One layer to repair.

    Args:
        weight: Dense weight, float32 or float64 [o, i].
        keep: Mask to start from, bool [o, i].
        stats: Statistics of the input by name, including ``gram`` [i, i] if needed.
        pattern: N:M pattern that refined masks must keep.
        notes: Messages collected while solving.
        saved: Type in which the repaired weight will be stored; None means the weight's own.
    """

    weight: Tensor
    keep: Tensor
    stats: Mapping[str, Tensor]
    pattern: NM | None = None
    notes: list[str] = field(default_factory=list)
    saved: torch.dtype | None = None

    @property
    def gram(self) -> Tensor:
        """Mean of x x^T over tokens, [i, i], in the weight's precision; ``NEEDS`` names it."""
        return self.stats["gram"].to(self.weight)


@dataclass(frozen=True)
class LayerRepair(RepairPart, ABC):
    """Base class of layer repairs: callers use :meth:`repair`, subclasses define :meth:`solve`.

    ``MOVES_WEIGHTS`` is False if the kept weights are left unchanged, ``KEEPS_ROWS`` True if every
    row keeps as many weights as in the given mask.
    """

    MOVES_WEIGHTS: ClassVar[bool] = True
    KEEPS_ROWS: ClassVar[bool] = False

    @property
    def chooses(self) -> bool:
        """Whether the resulting mask may differ, for a later repair to start from."""
        return True

    def forgets(self, group: Group) -> bool:
        """Whether only the zero counts of masks chosen within ``group`` matter.

        If so, two metrics with the same budgets give the same result, except for rows that fall
        back to plain zeroing.
        """
        return False

    @abstractmethod
    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return a proposed ``(weight, keep)``; :meth:`repair` enforces its guarantees.

        The statistics that ``NEEDS`` names are there, and the Gram matrix is finite.

        Raises:
            UsageError: If the Gram matrix stays singular; see :func:`damped_cholesky`.
        """

    @torch.no_grad()
    def repair(
        self,
        weight: Tensor,
        keep: Tensor,
        stats: Mapping[str, Tensor],
        pattern: NM | None = None,
        saved: torch.dtype | None = None,
    ) -> Repaired:
        """Repair a layer.

        The output error ``||(W' - W) X||^2`` of a row never exceeds that of plain zeroing with the
        given mask, both rounded to the stored type: rows that would exceed it are only zeroed, and
        a note says how many. Where a repair moves zeros between rows, this holds for the sum over
        all rows, not for each one.

        Args:
            weight: Dense weight, [o, i].
            keep: Mask, bool [o, i].
            stats: Statistics of the layer's input by name.
            pattern: N:M pattern of the mask, if any.
            saved: Type in which the repaired weight will be stored; None means the given weight's.

        Raises:
            UsageError: If a statistic is missing, or the Gram matrix is not finite or stays
                singular.
        """
        self._require_statistics(stats)
        problem = _problem(weight, keep, stats, pattern, saved)
        if "gram" in self.needs:
            _require_finite(problem.gram)
        return _promised(problem, *self.solve(problem), judged="gram" in self.needs)

    def _require_statistics(self, stats: Mapping[str, Tensor]) -> None:
        missing = sorted(self.needs - stats.keys())
        if missing:
            raise UsageError(
                f"repair {self.NAME!r} needs statistics that are missing: {missing}; collect the "
                f"statistic{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
            )


@torch.no_grad()
def repair_in_turn(
    parts: Sequence[LayerRepair],
    weight: Tensor,
    keep: Tensor,
    stats: Mapping[str, Tensor],
    pattern: NM | None = None,
    saved: torch.dtype | None = None,
) -> Repaired:
    """Apply several repairs in turn, each to the dense weight and the mask so far.

    The guarantee of :meth:`LayerRepair.repair` holds for the first and every intermediate mask.

    Args:
        parts: The repairs; if empty, pruned weights are zeroed and nothing else is done.
        weight: See :meth:`LayerRepair.repair`, also for the other arguments.
    """
    if len(parts) == 1:
        return parts[0].repair(weight, keep, stats, pattern, saved)
    problem = _problem(weight, keep, stats, pattern, saved)
    made = Repaired(problem.weight, keep)
    for part in parts:
        made = part.repair(problem.weight, made.keep, stats, pattern, problem.saved)
        problem.notes.extend(made.notes)
    judged = any("gram" in part.needs for part in parts)
    return _promised(problem, made.weight, made.keep, judged=judged)


def _problem(
    weight: Tensor,
    keep: Tensor,
    stats: Mapping[str, Tensor],
    pattern: NM | None,
    saved: torch.dtype | None,
) -> Problem:
    dense = weight.detach()
    if dense.dtype not in (torch.float32, torch.float64):
        dense = dense.float()
    return Problem(dense, keep, stats, pattern, saved=saved or weight.dtype)


def _require_finite(gram: Tensor) -> None:
    if not bool(torch.isfinite(gram.sum())):
        raise UsageError(
            "the Gram matrix holds values that are not finite (activations overflowed in half "
            "precision?); collect statistics with the model in float32 or bfloat16"
        )


def _promised(problem: Problem, repaired: Tensor, kept: Tensor, *, judged: bool) -> Repaired:
    """Make a proposal meet the guarantees of :meth:`LayerRepair.repair`."""
    # A row that loses nothing needs no repair, and rounding must not touch it.
    whole = (problem.keep.all(dim=1) & kept.all(dim=1)).unsqueeze(1)
    repaired = torch.where(whole, problem.weight, repaired)
    repaired = torch.where(kept, repaired, 0.0)
    if judged:
        repaired, kept = _never_worse(problem, repaired, kept)
    return Repaired(repaired, kept, tuple(problem.notes))


def output_errors(difference: Tensor, gram: Tensor) -> Tensor:
    """Mean squared output error per row, ``d G d^T``: [o, i], [i, i] -> [o]."""
    return ((difference @ gram) * difference).sum(dim=1)


def damped(gram: Tensor, damp: float) -> Tensor:
    """``G + damp * mean(diag G) * I``; the identity when all inputs are dead."""
    level = damp * float(gram.diagonal().mean())
    found = gram.clone()
    found.diagonal().add_(level if level > 0 else 1.0)
    return found


def damped_cholesky(problem: Problem, damp: float) -> tuple[Tensor, Tensor]:
    """Damped Gram matrix and its lower Cholesky factor; damping is raised tenfold until it exists.

    Raises:
        UsageError: If even a damping of ten times the mean diagonal does not help.
    """
    gram, level = problem.gram, max(damp, 0.0)
    largest = max(LARGEST_DAMPING, damp)
    while level <= largest:
        matrix = damped(gram, level) if level > 0 else gram
        factor, failed = torch.linalg.cholesky_ex(matrix)
        # A factor of a matrix that is singular to working precision exists but is worthless.
        smallest = float(factor.diagonal().min()) ** 2
        limit = torch.finfo(matrix.dtype).eps * float(matrix.diagonal().max())
        if not int(failed) and smallest > limit:
            if level != damp:
                problem.notes.append(f"damping raised from {damp:g} to {level:g}")
            return matrix, factor
        tried, level = level, level * ESCALATION if level > 0 else 1e-6
        if tried < largest < level:
            level = largest
    raise UsageError(
        f"the Gram matrix stays singular at a damping of {largest:g}; "
        "calibrate with more tokens or use the repair 'none'"
    )


def _never_worse(problem: Problem, weight: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    dense, gram = problem.weight, problem.gram
    plain = torch.where(problem.keep, dense, 0.0)

    def errors(new: Tensor) -> Tensor:
        # Rounded as it will be stored: where inputs nearly cancel, rounding can undo a repair.
        stored = new if problem.saved is None else new.to(problem.saved).to(dense.dtype)
        return output_errors(stored - dense, gram)

    before, after = errors(plain), errors(weight)
    # NaN fails every comparison, so test for what must hold.
    worse = ~(after <= before)
    if not bool(worse.any()):
        return weight, keep
    if torch.equal(keep.sum(dim=1), problem.keep.sum(dim=1)):
        rows = worse.nonzero().squeeze(1)
        problem.notes.append(f"{rows.numel()} of {len(dense)} rows zeroed plainly")
        weight, keep = weight.clone(), keep.clone()
        weight[rows], keep[rows] = plain[rows], problem.keep[rows]
        return weight, keep
    # The mask moved zeros between rows, so single rows cannot go back without missing the budget.
    if float(after.sum()) <= float(before.sum()):
        return weight, keep
    problem.notes.append("layer zeroed plainly")
    return plain, problem.keep
