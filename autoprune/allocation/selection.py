"""``auto``: let measurements choose the allocator; uniform always competes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.allocation.allocator import build_allocator
from autoprune.errors import UnknownNameError, UsageError
from autoprune.names import AUTO
from autoprune.spelling import split_outside

UNIFORM = "uniform"
JOIN = "+"
# Ramps with half-widths that helped some model at 50 to 70 %, the last block relaxed where that was
# best, both measures of skew, projection level once, outliers, and DLP with its paper's value for
# 60 %. Spectral allocators are left out: the eigenvalues of a large model cost more than all of
# these together.
GRID = (
    "ramp:half_width=0.05",
    "ramp",
    "ramp:half_width=0.15",
    "ramp:half_width=0.2",
    "ramp:half_width=0.25",
    "ramp:relax_last=0.5",
    "ramp:half_width=0.15,relax_last=0.5",
    "sdsa:strength=0.1",
    "sdsa",
    "sdsa:strength=0.2",
    "sdsa:statistic=skew",
    "sdsa:level=projection",
    "owl",
    "dlp:alpha=0.1",
)


@dataclass(frozen=True)
class AllocationChoice:
    """The outcome of a comparison.

    Args:
        best: Text of the allocator with the lowest loss; ``uniform`` wins ties.
        losses: Measured loss per allocator text, in nats per token, in the order measured.
        finals: The same for the two that were measured again; empty if none were.
        seconds: Time that it took.
    """

    best: str
    losses: tuple[tuple[str, float], ...]
    finals: tuple[tuple[str, float], ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Every allocation with its loss, and how it was measured."""
        return {
            "best": self.best,
            "tried": _listed(self.losses),
            "repaired": _listed(self.finals),
            "measured": "one-shot from dense statistics, without repair, on the selection part; "
            "repaired: the same masks after the repair, block after block",
            "seconds": self.seconds,
        }


def auto_grid(text: str) -> tuple[str, ...] | None:
    """Allocators that ``auto`` tries, in canonical form and uniform first.

    Args:
        text: ``auto``, ``auto:ALLOCATOR+ALLOCATOR``, or an allocator. A formula that adds terms is
            in brackets: ``auto:formula:(0.1*depth + 0.05*first)+ramp``.

    Returns:
        The texts to compare; None if the text names a single allocator.

    Raises:
        UsageError: If one of the texts is not an allocator.
    """
    name, _, rest = text.strip().partition(":")
    if name != AUTO:
        return None
    given = split_outside(rest, JOIN) if rest.strip() else list(GRID)
    if not all(given):
        raise UsageError(
            f"allocation {text!r} is not understood; write auto, or auto:ramp+sdsa:strength=0.2"
        )
    try:
        canonical = [build_allocator(entry).text for entry in (UNIFORM, *given)]
    except UnknownNameError as error:
        if "formula:" not in rest:
            raise
        raise UsageError(
            f"{error}; a formula that adds terms needs brackets, as in "
            "auto:formula:(0.1*depth + 0.05*first)+ramp"
        ) from None
    return tuple(dict.fromkeys(canonical))


def choose_allocator(
    texts: Sequence[str],
    measure: Callable[[str], float],
    confirm: Callable[[str], float] | None = None,
) -> AllocationChoice:
    """Measure each allocator and take the best.

    Args:
        texts: Allocator texts; ``uniform`` is added when missing.
        measure: Loss on the *selection* split of the model pruned with this allocator. The sealed
            split must never be used here.
        confirm: The same loss, measured at a higher cost; decides between ``uniform`` and the best
            of the others.

    Raises:
        UsageError: If a text is not an allocator; raised before anything is measured.
    """
    canonical = [build_allocator(text).text for text in (UNIFORM, *texts)]
    names = list(dict.fromkeys(canonical))
    losses = [(name, measure(name)) for name in names]
    if confirm is None or len(losses) == 1:
        return AllocationChoice(_best(losses), tuple(losses))
    finals = [(name, confirm(name)) for name in (UNIFORM, _best(losses[1:]))]
    return AllocationChoice(_best(finals), tuple(losses), tuple(finals))


def _listed(losses: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    # JSON has no number for the loss of a model that is destroyed.
    return [
        {"allocation": text, "loss": loss if math.isfinite(loss) else None} for text, loss in losses
    ]


def _best(losses: Sequence[tuple[str, float]]) -> str:
    # NaN (a destroyed model) never wins; min keeps the first of equals, which is uniform.
    return min(losses, key=lambda item: item[1] if item[1] == item[1] else float("inf"))[0]
