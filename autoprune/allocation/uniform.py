"""The uniform allocation, which all others have to beat, and rates given by hand."""

from dataclasses import dataclass
from typing import ClassVar, Self

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import AllocationContext, assign, unit_groups
from autoprune.errors import UsageError


@ALLOCATORS.register("uniform")
@dataclass(frozen=True)
class Uniform(Allocator):
    """Every layer loses the same share."""

    NAME: ClassVar[str] = "uniform"
    SOURCE: ClassVar[str] = "Wanda, arXiv 2306.11695"

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """The target everywhere."""
        return {unit.name: target for unit in ctx.units}


@ALLOCATORS.register("given")
@dataclass(frozen=True)
class Given(Allocator):
    """One rate per block or per layer, by hand: ``given:0.5/0.6/0.7``.

    Args:
        shares: Rates in model order, one per block or per prunable layer. They are shifted onto the
            budget like those of any other allocator.
    """

    NAME: ClassVar[str] = "given"
    SOURCE: ClassVar[str] = "the user"

    shares: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """``given:`` and the rates, separated by slashes."""
        return "given:" + "/".join(f"{share:.12g}" for share in self.shares)

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Read rates separated by slashes.

        Raises:
            UsageError: If the list is empty or an entry is not a share.
        """
        try:
            shares = tuple(float(part) for part in rest.split("/"))
        except ValueError:
            raise UsageError(
                f"allocator 'given': {rest!r} is not understood; write given:0.5/0.6/0.7"
            ) from None
        wrong = next((share for share in shares if not 0.0 <= share <= 1.0), None)
        if wrong is not None:
            raise UsageError(f"allocator 'given': rate {wrong:g} is outside 0 ≤ rate ≤ 1")
        return cls(shares)

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """The given rates.

        Raises:
            UsageError: If their number is neither that of the blocks nor that of the layers.
        """
        blocks, layers = unit_groups(ctx, "block"), unit_groups(ctx, "projection")
        for groups in (blocks, layers):
            if len(groups) == len(self.shares):
                return assign(groups, self.shares)
        raise UsageError(
            f"{len(self.shares)} rates were given; this model takes {len(blocks)} (one per block) "
            f"or {len(layers)} (one per prunable layer)"
        )
