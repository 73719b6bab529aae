"""AlphaPruning: layers whose weight spectrum has a light tail lose more."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar, Literal

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import AllocationContext, Level, assign, kind_of, unit_groups
from autoprune.allocation.shape import median_exponent, peak_exponent, spectrum


@ALLOCATORS.register("alpha")
@dataclass(frozen=True)
class Alpha(Allocator):
    """Allocation by the power-law exponent of each matrix's eigenvalue spectrum.

    With ``a_b`` the mean exponent of a block's matrices, ``q = 1 - eps + 2 eps minmax(a)``; the
    rate is ``q_b * target * sum(N) / sum(N q)``, so it scales with the target.

    Args:
        eps: Half of the relative range of rates.
        fit: Start of the tail: ``peak`` (default of the paper) or ``mid``.
        bug_compatible: Repeat the reference code's mixed units in the ``peak`` search window.
        level: One rate per block, or one per projection. Since the exponent depends on the shape
            of a matrix more than on its depth, projection level first divides each exponent by
            the mean over the same projection of all blocks (ours).
    """

    NAME: ClassVar[str] = "alpha"
    SOURCE: ClassVar[str] = "AlphaPruning, arXiv 2410.10912"

    eps: float = 0.3
    fit: Literal["peak", "mid"] = "peak"
    bug_compatible: bool = False
    level: Level = "block"

    def __post_init__(self) -> None:
        self._require("eps", 0.0 <= self.eps <= 1.0, "between 0 and 1")

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``q * target``, normalised by size."""
        key = f"alpha {self.fit} {self.bug_compatible}"
        exponents = ctx.once(key, lambda: self._exponents(ctx))
        groups = unit_groups(ctx, self.level)
        if self.level == "projection":
            exponents = relative_to_kind(exponents)
        means = [sum(exponents[unit.name] for unit in group) / len(group) for group in groups]
        sizes = [sum(unit.numel for unit in group) for group in groups]
        return assign(groups, scaled_rates(means, sizes, self.eps, target))

    def _exponents(self, ctx: AllocationContext) -> dict[str, float]:
        result: dict[str, float] = {}
        for unit in ctx.units:
            name = unit.name
            values = ctx.once(f"spectrum {name}", lambda name=name: spectrum(ctx.weight(name)))  # type: ignore[misc]
            if self.fit == "mid":
                result[name] = median_exponent(values)
            else:
                result[name] = peak_exponent(values, self.bug_compatible)
        finite = [value for value in result.values() if math.isfinite(value)]
        # A spectrum that is constant or empty has no tail at all: take the lightest tail seen.
        lightest = max(finite, default=1.0)
        return {name: min(value, lightest) for name, value in result.items()}


def relative_to_kind(values: dict[str, float]) -> dict[str, float]:
    """Divide each value by the mean over the units of its kind."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for name, value in values.items():
        kinds[kind_of(name)].append(value)
    means = {kind: sum(members) / len(members) for kind, members in kinds.items()}
    return {name: value / means[kind_of(name)] for name, value in values.items()}


def scaled_rates(
    exponents: list[float], sizes: list[int], eps: float, target: float
) -> list[float]:
    """The mapping of AlphaPruning from exponents to rates of size-weighted mean ``target``."""
    low, high = min(exponents), max(exponents)
    span = high - low
    q = [1.0 - eps + (2.0 * eps * (a - low) / span if span > 0 else eps) for a in exponents]
    weighted = sum(size * value for size, value in zip(sizes, q, strict=True))
    if weighted == 0.0:
        return [target] * len(q)
    return [target * value * sum(sizes) / weighted for value in q]
