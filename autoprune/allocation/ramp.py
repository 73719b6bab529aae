"""ATP: a straight line over depth, the baseline that every learned allocation has to beat."""

from dataclasses import dataclass
from typing import ClassVar

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import AllocationContext, assign, unit_groups


@ALLOCATORS.register("ramp")
@dataclass(frozen=True)
class Ramp(Allocator):
    """Later blocks lose more: ``target + half_width * t_b`` with t from -1 to 1 over the blocks.

    In the paper's form, ``beta = 2 half_width / (L - 1)`` is the step from block to block.

    Args:
        half_width: Deviation of the last block from the target.
        beta: Step between neighbouring blocks; if given, overrides ``half_width``.
        relax_last: How far the last block falls back to the target, 0 to 1. Searched allocations
            (EvoPress, arXiv 2410.14649) rise with depth except in the last block.
    """

    NAME: ClassVar[str] = "ramp"
    SOURCE: ClassVar[str] = "ATP, arXiv 2502.14770"

    half_width: float = 0.1
    beta: float | None = None
    relax_last: float = 0.0

    def __post_init__(self) -> None:
        self._require("half_width", 0.0 <= self.half_width <= 1.0, "between 0 and 1")
        self._require("beta", self.beta is None or self.beta >= 0.0, "0 or above")
        self._require("relax_last", 0.0 <= self.relax_last <= 1.0, "between 0 and 1")

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target + half_width * t``."""
        groups = unit_groups(ctx, "block")
        slope = depth_line(len(groups))
        width = self.half_width if self.beta is None else self.beta * (len(groups) - 1) / 2.0
        rates = [target + width * step for step in slope]
        rates[-1] = target + (1.0 - self.relax_last) * width * slope[-1]
        return assign(groups, rates)


def depth_line(count: int) -> list[float]:
    """``count`` evenly spaced values from -1 to 1; a single block gets 0."""
    if count == 1:
        return [0.0]
    return [2.0 * index / (count - 1) - 1.0 for index in range(count)]
