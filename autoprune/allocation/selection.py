"""``auto``: let measurements choose the allocator; uniform always competes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoprune.allocation.allocator import build_allocator

UNIFORM = "uniform"


@dataclass(frozen=True)
class Choice:
    """The outcome of a comparison.

    Args:
        best: Text of the allocator with the lowest loss; ``uniform`` wins ties.
        losses: Measured loss per allocator text, in the order measured.
    """

    best: str
    losses: tuple[tuple[str, float], ...]


def choose_allocator(texts: Sequence[str], measure: Callable[[str], float]) -> Choice:
    """Measure each allocator and take the best.

    Args:
        texts: Allocator texts; ``uniform`` is added when missing.
        measure: Loss on the *selection* split of the model pruned with this allocator. The sealed
            split must never be used here.

    Raises:
        UsageError: If a text is not an allocator; before anything is measured.
    """
    canonical = [build_allocator(text).text for text in (UNIFORM, *texts)]
    names = list(dict.fromkeys(canonical))
    losses = [(name, measure(name)) for name in names]
    # NaN (a destroyed model) never wins; min keeps the first of equals, which is uniform.
    best = min(losses, key=lambda item: item[1] if item[1] == item[1] else float("inf"))
    return Choice(best[0], tuple(losses))
