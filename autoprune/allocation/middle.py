"""A curve over depth that a language model found: middle blocks lose most, both ends least."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import AllocationContext, assign, unit_groups

# Shares of neurons for the thirty blocks of SmolLM2-135M at 20 % fewer parameters, as they were
# found (the search of seed 81 in evidence/rates).
# fmt: off
FOUND = (
    0.0, 0.02, 0.05, 0.09, 0.13, 0.16, 0.19, 0.22, 0.25, 0.27, 0.29, 0.31, 0.32, 0.33, 0.34,
    0.34, 0.34, 0.33, 0.32, 0.3, 0.28, 0.25, 0.22, 0.19, 0.16, 0.13, 0.1, 0.06, 0.03, 0.0,
)
# fmt: on


@ALLOCATORS.register("middle")
@dataclass(frozen=True)
class Middle(Allocator):
    """Middle blocks lose most, the first and the last least; a curve found for ``width``.

    Measured for neurons of SmolLM2-135M alone, which has thirty blocks; for other numbers of
    blocks, the curve is interpolated. Whether it helps masks was not tried.

    Args:
        strength: Factor of the deviations from the target.
    """

    NAME: ClassVar[str] = "middle"
    SOURCE: ClassVar[str] = "found by a language model, evidence/rates; tested in evidence/curves"

    strength: float = 1.0

    def __post_init__(self) -> None:
        self._require("strength", 0.0 <= self.strength <= 2.0, "between 0 and 2")

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target + strength (curve - mean curve)``."""
        groups = unit_groups(ctx, "block")
        shares = curve(len(groups))
        mean = sum(shares) / len(shares)
        return assign(groups, [target + self.strength * (share - mean) for share in shares])


def curve(count: int) -> list[float]:
    """:data:`FOUND` at ``count`` evenly spaced depths, on straight lines between its numbers."""
    if count == 1:
        return [max(FOUND)]
    last = len(FOUND) - 1
    shares = np.interp(np.linspace(0, last, count), range(len(FOUND)), FOUND)
    return [float(share) for share in shares]
