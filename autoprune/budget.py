"""How many weights go."""

from dataclasses import dataclass

from autoprune.masking import NM, parse_pattern, resolve_sparsity
from autoprune.masking.pattern import UNSTRUCTURED


@dataclass(frozen=True)
class Budget:
    """How many weights go.

    Args:
        sparsity: Share of all prunable weights, 0 ≤ s < 1; None with a pattern, which fixes it.
        pattern: ``N:M``: N zeros in every M neighbours; None: anywhere.

    Raises:
        UsageError: If neither is given, or they contradict each other.
    """

    sparsity: float | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        _ = self.share

    @property
    def share(self) -> float:
        """Share of zeros."""
        return resolve_sparsity(self.sparsity, self._pattern)

    @property
    def _pattern(self) -> NM | None:
        return parse_pattern(self.pattern or UNSTRUCTURED)
