"""Comparing two rows: paired over items, and only under one protocol."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.evaluation.intervals import Interval, bootstrap_mean
from autoprune.evaluation.suites.rows import Row


class ProtocolMismatchError(UsageError):
    """Two figures were measured by different protocols and must not be compared; exit code 2."""


@dataclass(frozen=True)
class Comparison:
    """Second row minus first row, item by item.

    Args:
        difference: Mean difference of the items, in the unit of the items.
        interval: Bootstrap interval of 95 % over the item differences.
        items: Number of pairs.
        higher: Items where the second row is higher.
        lower: Items where the second row is lower.
        ratio: For perplexity, the second figure over the first; else None.
    """

    difference: float
    interval: Interval | None
    items: int
    higher: int
    lower: int
    ratio: float | None = None

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**asdict(self), "distinguishable": self.distinguishable}


def compare_rows(first: Row, second: Row, *, seed: int = 0) -> Comparison:
    """Compare two figures of the same kind.

    Raises:
        ProtocolMismatchError: If suite, name, metric or any point of the protocol differs.
        AutopruneError: If one of them has no figure or they hold no items to pair.
    """
    require_same_protocol(first, second)
    for row in (first, second):
        if row.status != "ok":
            raise AutopruneError(f"{row.describe()} has no figure to compare")
    if not first.items or len(first.items) != len(second.items):
        raise AutopruneError(
            f"{first.suite} {first.name}: {len(first.items)} and {len(second.items)} items cannot "
            "be paired; measure both with this version"
        )
    differences = [b - a for a, b in zip(first.items, second.items, strict=True)]
    mean, interval = bootstrap_mean(differences, seed=seed)
    higher = sum(value > 0 for value in differences)
    lower = sum(value < 0 for value in differences)
    # A perplexity is the exponential of the mean of its items, so their difference is its ratio.
    ratio = math.exp(mean) if first.metric == "perplexity" else None
    return Comparison(mean, interval, len(differences), higher, lower, ratio)


def require_same_protocol(first: Row, second: Row) -> None:
    """Refuse to put figures of different protocols side by side.

    Raises:
        ProtocolMismatchError: Names every point that differs, with both values.
    """
    keys = sorted({*first.protocol, *second.protocol})
    points: list[tuple[str, Any, Any]] = [
        ("suite", first.suite, second.suite),
        ("name", first.name, second.name),
        ("metric", first.metric, second.metric),
    ]
    points += [(key, first.protocol.get(key), second.protocol.get(key)) for key in keys]
    different = [f"{key} is {a!r} and {b!r}" for key, a, b in points if a != b]
    if different:
        raise ProtocolMismatchError(
            f"these figures follow different protocols: {'; '.join(different)}; "
            "measure both with the same settings"
        )
