"""Control allocators: an allocation must beat them before its explanation is credible.

Each takes the projected rates of another allocator, keeps their spread and mirrors them, permutes
them over depth or replaces them by a straight line. An allocation that only equals its matched ramp
has found depth, not skew or outliers.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch

from autoprune.allocation.allocator import ALLOCATORS, Allocator, allocate, build_allocator
from autoprune.allocation.context import AllocationContext, assign, unit_groups
from autoprune.allocation.ramp import depth_line
from autoprune.allocation.sdsa import Sdsa
from autoprune.errors import UsageError


@dataclass(frozen=True)
class Control(Allocator):
    """A control around another allocator, written ``control:allocator``.

    Args:
        inner: The allocator under test.
    """

    inner: Allocator = field(default_factory=Sdsa)

    @property
    def needs(self) -> frozenset[str]:
        """What the inner allocator needs."""
        return self.inner.needs

    @property
    def text(self) -> str:
        """``control:`` and the inner allocator's text."""
        return f"{self.NAME}:{self.inner.text}"

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Read the inner allocator.

        Raises:
            UsageError: If it is missing or invalid.
        """
        if not rest.strip():
            raise UsageError(
                f"allocator {cls.NAME!r} needs another one to control; write {cls.NAME}:sdsa"
            )
        return cls(build_allocator(rest))


@ALLOCATORS.register("reversed")
@dataclass(frozen=True)
class Reversed(Control):
    """Mirror image around the target: protects what the inner allocator prunes hardest."""

    NAME: ClassVar[str] = "reversed"
    SOURCE: ClassVar[str] = "control"

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``2 target - inner``."""
        inner = allocate(self.inner, ctx, target)
        return {name: 2.0 * target - rate for name, rate in inner.items()}


@ALLOCATORS.register("shuffled")
@dataclass(frozen=True)
class Shuffled(Control):
    """The inner rates assigned to the blocks at random, seeded by the context."""

    NAME: ClassVar[str] = "shuffled"
    SOURCE: ClassVar[str] = "control"

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """Rates of block ``pi(b)`` for block ``b``, position by position inside the block."""
        inner = allocate(self.inner, ctx, target)
        groups = unit_groups(ctx, "block")
        generator = torch.Generator().manual_seed(ctx.seed)
        order = torch.randperm(len(groups), generator=generator).tolist()
        result: dict[str, float] = {}
        for group, index in zip(groups, order, strict=True):
            source = groups[index]
            for position, unit in enumerate(group):
                result[unit.name] = inner[source[position % len(source)].name]
        return {unit.name: result[unit.name] for unit in ctx.units}


@ALLOCATORS.register("matched-ramp")
@dataclass(frozen=True)
class MatchedRamp(Control):
    """A straight line over depth with the inner rates' size-weighted standard deviation."""

    NAME: ClassVar[str] = "matched-ramp"
    SOURCE: ClassVar[str] = "control; line of ATP, arXiv 2502.14770"

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target + s t`` with ``std(s t) = std(inner)``."""
        inner = allocate(self.inner, ctx, target)
        groups = unit_groups(ctx, "block")
        line = assign(groups, depth_line(len(groups)))
        width = _deviation(ctx, line)
        scale = _deviation(ctx, inner) / width if width > 0 else 0.0
        return {name: target + scale * step for name, step in line.items()}


def _deviation(ctx: AllocationContext, values: dict[str, float]) -> float:
    total = sum(unit.numel for unit in ctx.units)
    mean = math.fsum(unit.numel * values[unit.name] for unit in ctx.units) / total
    squares = (unit.numel * (values[unit.name] - mean) ** 2 for unit in ctx.units)
    return math.sqrt(math.fsum(squares) / total)
