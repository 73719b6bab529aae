"""Allocations from Wanda scores: OWL counts a block's outliers, DLP takes its central score."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import (
    AllocationContext,
    Level,
    Unit,
    assign,
    unit_groups,
    wanda_scores,
)


@ALLOCATORS.register("owl")
@dataclass(frozen=True)
class Owl(Allocator):
    """Outlier-weighed layerwise sparsity: units with more outlier scores lose less.

    ``D_l`` is the percentage of the unit's Wanda scores above ``m`` times their mean;
    ``d = 2 lam minmax(D)``, and the rate is ``target - d_l + mean(d)``.

    Args:
        m: Multiple of the mean above which a score is an outlier.
        lam: Half of the range of rates.
        level: One rate per block or one per projection.
    """

    NAME: ClassVar[str] = "owl"
    SOURCE: ClassVar[str] = "OWL, arXiv 2310.05175"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"x_norm"})

    m: float = 5.0
    lam: float = 0.08
    level: Level = "block"

    def __post_init__(self) -> None:
        self._require("m", self.m > 0.0, "above 0")
        self._require("lam", 0.0 <= self.lam <= 0.5, "between 0 and 0.5")

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target - d + mean(d)``."""
        groups = unit_groups(ctx, self.level)
        key = f"owl {self.m} {self.level}"
        ratio = ctx.once(key, lambda: [self._outliers(ctx, group) for group in groups])
        return assign(groups, shift_by_range(ratio, 2.0 * self.lam, target))

    def _outliers(self, ctx: AllocationContext, group: list[Unit]) -> float:
        scores = [wanda_scores(ctx, unit.name) for unit in group]
        count = sum(unit.numel for unit in group)
        limit = self.m * sum(float(part.double().sum()) for part in scores) / count
        return 100.0 * sum(int((part > limit).sum()) for part in scores) / count


@ALLOCATORS.register("dlp")
@dataclass(frozen=True)
class Dlp(Allocator):
    """Dynamic layerwise pruning: units with a large central score are redundant and lose more.

    ``c_l`` sums the median Wanda score of each matrix of the unit; ``I_l = 1 - c_l / sum(c)``;
    ``d = 2 alpha minmax(I)``, and the rate is ``target - d_l + mean(d)``. The sum over matrices is
    ours: the released code pools the scores of a block.

    Args:
        alpha: Half of the range of rates; the paper uses 0.15 at 70 % and 0.1 at 60 %.
        central: ``median`` (the paper) or ``mean`` (the released code).
        level: One rate per block or one per projection.
    """

    NAME: ClassVar[str] = "dlp"
    SOURCE: ClassVar[str] = "DLP, arXiv 2505.23807"
    NEEDS: ClassVar[frozenset[str]] = frozenset({"x_norm"})

    alpha: float = 0.15
    central: Literal["median", "mean"] = "median"
    level: Level = "block"

    def __post_init__(self) -> None:
        self._require("alpha", 0.0 <= self.alpha <= 0.5, "between 0 and 0.5")

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target - d + mean(d)``."""
        groups = unit_groups(ctx, self.level)
        key = f"dlp {self.central} {self.level}"
        centre = ctx.once(key, lambda: [self._centre(ctx, group) for group in groups])
        total = sum(centre)
        importance = [1.0 - value / total if total > 0 else 0.0 for value in centre]
        return assign(groups, shift_by_range(importance, 2.0 * self.alpha, target))

    def _centre(self, ctx: AllocationContext, group: list[Unit]) -> float:
        measure = torch.median if self.central == "median" else torch.mean
        return sum(float(measure(wanda_scores(ctx, unit.name))) for unit in group)


def shift_by_range(importance: list[float], width: float, target: float) -> list[float]:
    """``target - d + mean(d)`` with ``d`` the importance rescaled to [0, width]."""
    low, high = min(importance), max(importance)
    scale = width / (high - low) if high > low else 0.0
    shifts = [(value - low) * scale for value in importance]
    mean = sum(shifts) / len(shifts)
    return [target - shift + mean for shift in shifts]
