"""DSnoT: swap pruned for kept weights until each row's expected error vanishes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.masking.pattern import NM
from autoprune.repair.layer import LayerRepair, Problem
from autoprune.repair.parts import REPAIRS


@REPAIRS.register("dsnot")
@dataclass(frozen=True)
class Dsnot(LayerRepair):
    """Dynamic sparse no training: training-free refinement of the mask; weights stay unchanged.

    With ``c = W * E[x]``, the expected error of a row is ``r``, the sum of c over its pruned
    weights. Each cycle revives the pruned weight with the largest ``c / Var(x)`` of r's sign and
    prunes the kept weight with the smallest Wanda score among those whose c moves r back. A row
    stops when ``|r|`` is within the tolerance or a swap would not lower it.

    Args:
        cycles: Maximum number of swaps per row.
        tolerance: ``|r|`` below which a row stops. The paper sums over the 2048 tokens of a sample
            and stops at 0.1; per token that is 5e-5.
    """

    NAME: ClassVar[str] = "dsnot"
    SOURCE: ClassVar[str] = "Dynamic Sparse No Training, arXiv 2310.08915"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"gram", "x_mean", "x_var", "x_norm"})
    MOVES_WEIGHTS: ClassVar[bool] = False
    KEEPS_ROWS: ClassVar[bool] = True

    cycles: int = 50
    tolerance: float = 5e-5

    def __post_init__(self) -> None:
        self._require("cycles", self.cycles >= 0, "0 or above")
        self._require("tolerance", self.tolerance >= 0.0, "0 or above")

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The dense weight on the refined mask."""
        weight = problem.weight
        mean, variance, norm = (
            problem.stats[name].to(weight) for name in ("x_mean", "x_var", "x_norm")
        )
        effect = weight * mean
        # A constant input has no variance; reviving its weight costs nothing, so it comes first.
        gain = effect / variance.clamp_min(torch.finfo(weight.dtype).tiny)
        wanda = weight.abs() * norm
        keep = problem.keep.clone()
        active = torch.arange(len(weight), device=weight.device)
        for _ in range(self.cycles):
            error = (effect[active] * ~keep[active]).sum(dim=1)
            active = active[error.abs() > self.tolerance]
            if active.numel() == 0:
                break
            active = _swap(keep, active, effect, gain, wanda, problem.pattern)
        return weight, keep


def _swap(
    keep: Tensor, rows: Tensor, effect: Tensor, gain: Tensor, wanda: Tensor, pattern: NM | None
) -> Tensor:
    """Swap once in each of ``rows``, in place; return the rows where this lowered the error."""
    if rows.numel() == 0 or keep.shape[1] == 0:
        return rows
    part, effect, infinity = keep[rows], effect[rows], float("inf")
    error = (effect * ~part).sum(dim=1, keepdim=True)
    value = (gain[rows] * error.sign()).masked_fill(part, -infinity)
    revived = value.argmax(dim=1, keepdim=True)
    after = error - effect.gather(1, revived)
    helps = part & (effect.sign() == -after.sign())
    if pattern is not None:
        columns = torch.arange(keep.shape[1], device=keep.device)
        helps &= columns // pattern.of == revived // pattern.of
    cost = wanda[rows].masked_fill(~helps, infinity)
    lost = cost.argmin(dim=1, keepdim=True)
    final = after + effect.gather(1, lost)
    good = (helps.gather(1, lost) & ~part.gather(1, revived) & (final.abs() < error.abs())).squeeze(
        1
    )
    done = rows[good]
    keep[done, revived[good].squeeze(1)] = True
    keep[done, lost[good].squeeze(1)] = False
    return done
