"""How much to prune: a share of zeros, or how much smaller or faster a scheme makes a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from autoprune.errors import UsageError
from autoprune.masking import NM, parse_pattern, resolve_sparsity
from autoprune.names import UNSTRUCTURED


@dataclass(frozen=True)
class Budget:
    """How much to prune, in one unit.

    Args:
        sparsity: Share of all prunable weights, 0 ≤ s < 1; None with a pattern, which fixes it.
            For a scheme: share of the blocks' parameters.
        pattern: ``N:M``: N zeros in every M neighbours; None: zeros may be anywhere.
        bytes: For a scheme: share of the bytes of the saved weights, embeddings included.
        faster: For a scheme: multiple of the dense model's tokens per second.

    Raises:
        UsageError: If none is given, they contradict each other, or one is impossible.
    """

    # Units that only a model of another shape can have.
    OF_SCHEMES: ClassVar[tuple[str, ...]] = ("bytes", "faster")

    sparsity: float | None = None
    pattern: str | None = None
    bytes: float | None = None
    faster: float | None = None

    def __post_init__(self) -> None:
        if self.unit == "sparsity":
            _ = self.share
            return
        given = (self.sparsity, self.pattern, self.bytes, self.faster)
        if sum(value is not None for value in given) > 1:
            raise UsageError(f"{self!r} holds several budgets; give one of them")
        if self.bytes is not None and not 0.0 < self.bytes < 1.0:
            raise UsageError(
                f"bytes {self.bytes:g} is not a share that can be removed; take 0 < b < 1"
            )
        if self.faster is not None and not 1.0 < self.faster < math.inf:
            raise UsageError(
                f"{self.faster:g} times as fast is not faster by a finite factor; take a finite "
                "number above 1"
            )

    @property
    def unit(self) -> str:
        """``sparsity``, ``bytes`` or ``faster``."""
        if self.bytes is not None:
            return "bytes"
        return "sparsity" if self.faster is None else "faster"

    @property
    def share(self) -> float:
        """Share of zeros; for a scheme, share of the blocks' parameters.

        Raises:
            UsageError: If the budget is in bytes or speed, which zeros cannot achieve.
        """
        if self.unit != "sparsity":
            raise UsageError(
                f"{self} is a budget of a scheme, and zeros bring neither fewer bytes nor speed; "
                "take a scheme, or a share of zeros"
            )
        return resolve_sparsity(self.sparsity, self._pattern)

    @property
    def most_removed(self) -> float:
        """Share of a model's parameters that a scheme removes at most; 1 for one in speed."""
        if self.unit == "sparsity":
            return self.share
        return 1.0 if self.bytes is None else self.bytes

    @property
    def _pattern(self) -> NM | None:
        return parse_pattern(self.pattern or UNSTRUCTURED)

    @classmethod
    def chosen(
        cls, sparsity: float | None, pattern: str, units: Mapping[str, float | None]
    ) -> "Budget":
        """The budget of schemes if one is given, else the share in its pattern.

        Args:
            sparsity: As for the class; unused if a budget of schemes is given, like ``pattern``.
            pattern: ``unstructured`` or N:M.
            units: Budgets of schemes by unit; None for one that is not given.
        """
        if all(value is None for value in units.values()):
            return cls(sparsity, pattern)
        return cls(bytes=units.get("bytes"), faster=units.get("faster"))

    @property
    def tag(self) -> str:
        """Short form for names: ``s60``, ``b25`` or, for 1.3 times the speed, ``x130``."""
        if self.bytes is not None:
            return f"b{round(100 * self.bytes)}"
        if self.faster is not None:
            return f"x{round(100 * self.faster)}"
        return f"s{round(100 * self.share)}"

    @property
    def goal(self) -> str:
        """What a model is brought to, in words; for a share, the number alone."""
        return str(self) if self.bytes is None else f"{100 * self.bytes:g} % fewer bytes"

    def __str__(self) -> str:
        if self.bytes is not None:
            return f"{100 * self.bytes:g} % of the bytes"
        if self.faster is not None:
            return f"{self.faster:g} times the speed"
        return f"{100 * self.share:g} %" if self._pattern is None else str(self._pattern)
