"""Allocators decide how much of each layer to prune: registry, text form, budget projection."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from autoprune.allocation.context import AllocationContext, numels
from autoprune.allocation.projection import project
from autoprune.registry import Registry
from autoprune.textform import TextForm


@dataclass(frozen=True)
class Allocator(TextForm, ABC):
    """Turns a model and a target share into one raw rate per prunable layer.

    Raw rates need not meet the budget or the bounds; :func:`allocate` projects them.
    """

    KIND: ClassVar[str] = "allocator"

    @abstractmethod
    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """Return the raw share to prune for each unit name.

        Args:
            ctx: The model.
            target: Share of all prunable weights to zero.
        """


ALLOCATORS: Registry[type[Allocator]] = Registry("allocator", "autoprune.allocators")


def build_allocator(text: str) -> Allocator:
    """Build an allocator from ``NAME`` or ``NAME:key=value,...``.

    Example: ``sdsa:strength=0.2,level=projection``.

    Raises:
        UnknownNameError: If no allocator has the name; suggests the nearest.
        UsageError: If a parameter is unknown or out of range.
    """
    name, _, rest = text.strip().partition(":")
    return ALLOCATORS.get(name).from_text(rest)


def allocate(allocator: Allocator, ctx: AllocationContext, target: float) -> dict[str, float]:
    """Project an allocator's rates onto the budget: their weighted mean is exactly ``target``."""
    return project(allocator.rates(ctx, target), numels(ctx), target)
