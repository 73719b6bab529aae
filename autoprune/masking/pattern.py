"""Sparsity patterns: unstructured, or N zeros in every M consecutive inputs."""

import re
from dataclasses import dataclass

from autoprune.errors import UsageError
from autoprune.names import UNSTRUCTURED


@dataclass(frozen=True)
class NM:
    """An N:M pattern: of every ``of`` consecutive inputs of a row exactly ``zeros`` are zero.

    This is how code in the pruning literature reads N:M (SparseGPT, arXiv 2301.00774; Wanda, arXiv
    2306.11695). Hardware documents count the non-zeros; for 2:4 and 4:8 both are the same.

    Args:
        zeros: Pruned weights per group, 1 ≤ zeros < of.
        of: Length of a group along the input dimension.

    Raises:
        UsageError: If the two numbers do not form a pattern.
    """

    zeros: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.zeros < self.of:
            raise UsageError(
                f"pattern {self.zeros}:{self.of} is not possible; N:M means N zeros in every M "
                "inputs with 1 ≤ N < M, for example 2:4"
            )

    @property
    def share(self) -> float:
        """Sparsity that the pattern implies."""
        return self.zeros / self.of

    def check(self, name: str, inputs: int) -> None:
        """Refuse a layer whose inputs do not split into groups.

        Raises:
            UsageError: If ``inputs`` is not a multiple of M; names the layer.
        """
        if inputs % self.of:
            raise UsageError(
                f"{name} has {inputs} inputs, not a multiple of {self.of}, so pattern {self} does "
                "not divide it; choose an M that divides every layer or the unstructured pattern"
            )

    def __str__(self) -> str:
        return f"{self.zeros}:{self.of}"


def parse_pattern(text: str) -> NM | None:
    """Read ``"unstructured"`` (None) or ``"N:M"``.

    Raises:
        UsageError: If the text is neither.
    """
    if text == UNSTRUCTURED:
        return None
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
    if found is None:
        raise UsageError(f"pattern {text!r} is unknown; use 'unstructured' or N:M, for example 2:4")
    return NM(int(found[1]), int(found[2]))


def resolve_sparsity(sparsity: float | None, pattern: NM | None) -> float:
    """Resolve the share of zeros to reach from what the user gave.

    Args:
        sparsity: Share of prunable weights to zero, 0 ≤ s < 1; may be None with an N:M pattern.
        pattern: N:M pattern or None.

    Raises:
        UsageError: If the share is missing, outside [0, 1) or contradicts the pattern.
    """
    if sparsity is None:
        if pattern is None:
            raise UsageError("no sparsity was given; pass a share such as 0.6, or an N:M pattern")
        return pattern.share
    if not 0.0 <= sparsity < 1.0:
        raise UsageError(
            f"sparsity {sparsity:g} is outside 0 ≤ s < 1; pass a share such as 0.6, "
            "not a percentage"
        )
    if pattern is not None and abs(sparsity - pattern.share) > 1e-9:
        raise UsageError(
            f"sparsity {sparsity:g} contradicts pattern {pattern}, which zeroes exactly "
            f"{pattern.share:g}; leave the sparsity out or use the unstructured pattern"
        )
    return sparsity
