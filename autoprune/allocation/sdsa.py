"""SDSA, Skew-aware Dynamic Sparsity Allocation: layers with a heavy tail of weights lose less."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import AllocationContext, Level, Unit, assign, unit_groups
from autoprune.allocation.shape import sampling_error, skewness, tail_mean

Statistic = Literal["tail", "skew"]
MEASURES: dict[str, Callable[[Tensor], float]] = {"tail": tail_mean, "skew": skewness}
# Minimum size of one unit of z, in sampling errors. Thirty layers of one distribution lie within
# three sampling errors, so no rate is off by more than 0.01 at the default strength.
FLOOR = 32.0


@ALLOCATORS.register("sdsa")
@dataclass(frozen=True)
class Sdsa(Allocator):
    """Skew-aware allocation, our reconstruction: on SmolLM2 no gain beyond a depth ramp is shown.

    The idea (AutoPrune, arXiv 2511.15390): protect layers with more skewed absolute weights more,
    through a softmax. The paper's equation is not public; this form is ours:

    ``gamma_l`` is the statistic of |W|, averaged over the matrices of a unit with their sizes as
    weights, which equals the statistic of the pooled weights after each matrix is standardised
    (pooling raw weights would measure differences of scale instead). With
    ``z = (gamma - median) / max(sd, s0)``, see :func:`shape_scores`, and ``p`` the softmax of each
    unit against the median one, the tilt is ``d = 2 p - 1 = tanh(z / (2 temperature))`` and the raw
    rate ``target - strength * d``. Layers of one distribution get equal budgets.

    Args:
        strength: Bound on the deviation from the target before projection; only units that stand
            out far reach it.
        temperature: Softmax temperature; small values amplify differences.
        statistic: ``tail``, the mean of the largest thousandth above the median, in medians (ours),
            or ``skew``, the third standardised moment, which is the paper's.
        level: One rate per block or one per projection.
    """

    NAME: ClassVar[str] = "sdsa"
    SOURCE: ClassVar[str] = (
        "AutoPrune, arXiv 2511.15390, whose statistic is skew (skewness of |W|); tail is ours"
    )

    strength: float = 0.15
    temperature: float = 1.0
    statistic: Statistic = "tail"
    level: Level = "block"

    def __post_init__(self) -> None:
        self._require("strength", 0.0 <= self.strength <= 1.0, "between 0 and 1")
        self._require("temperature", self.temperature > 0.0, "above 0")

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target - strength * d``."""
        groups = unit_groups(ctx, self.level)
        scores = shape_scores(ctx, groups, self.statistic)
        tilts = (bounded_tilt(score, self.temperature) for score in scores)
        return assign(groups, [target - self.strength * tilt for tilt in tilts])


def shape_scores(
    ctx: AllocationContext, groups: list[list[Unit]], statistic: Statistic
) -> list[float]:
    """``z = (gamma - median) / max(sd, s0)`` of each group: how far its tail stands out.

    ``sd`` is the standard deviation of gamma over groups. ``s0`` keeps noise from passing for a
    difference: :data:`FLOOR` times the median sampling error over groups, so that one group with a
    few extreme weights does not raise it for all.
    """
    found = [_gamma(ctx, group, statistic) for group in groups]
    gamma, error = torch.tensor(found, dtype=torch.float64).unbind(1)
    # For an even number, the mean of the middle two, so that no unit is favoured.
    centre = gamma.quantile(0.5)
    scale = max(float(gamma.std(correction=0)), FLOOR * float(error.median()))
    if scale == 0.0:
        return [0.0] * len(groups)
    return cast(list[float], ((gamma - centre) / scale).tolist())


def bounded_tilt(score: float, temperature: float = 1.0) -> float:
    """``2 softmax([z / temperature, 0])_1 - 1``: a unit against the median one, in -1 to 1."""
    return math.tanh(score / (2.0 * temperature))


def _gamma(ctx: AllocationContext, group: list[Unit], statistic: Statistic) -> tuple[float, float]:
    """Size-weighted mean of the statistic over a group, and its sampling error."""

    def measured(name: str) -> tuple[float, float]:
        weight, measure = ctx.weight(name), MEASURES[statistic]
        return measure(weight), sampling_error(weight, measure)

    total = sum(unit.numel for unit in group)
    mean = variance = 0.0
    for unit in group:
        key = f"{statistic} {unit.name}"
        value, error = ctx.once(key, lambda name=unit.name: measured(name))  # type: ignore[misc]
        share = unit.numel / total
        mean += share * value
        variance += (share * error) ** 2
    return mean, math.sqrt(variance)
