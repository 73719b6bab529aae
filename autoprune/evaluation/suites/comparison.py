"""Compare two rows: paired over items where possible, and only under the same protocol."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.evaluation.contrasts import contrast
from autoprune.evaluation.intervals import (
    Interval,
    bootstrap_ratio,
    bootstrap_strata,
)
from autoprune.evaluation.suites.rows import RUNS, STRATA, Row

# Two or three runs that happen to agree prove nothing.
LEAST_RUNS = 5
# Nor do fewer pairs that all differ by the same: the sign test's p of five is 0.06.
LEAST_PAIRS = 6


class ProtocolMismatchError(UsageError):
    """Two figures were measured under different protocols and must not be compared; exit code 2."""


@dataclass(frozen=True)
class RowComparison:
    """Second row minus first row, item by item.

    Args:
        difference: Mean difference of the items, in the unit of the items; for a group of tasks,
            the mean of the tasks' mean differences.
        interval: 95 % interval of the mean over items, as from :func:`contrast` with one draw; for
            a group of tasks, from a bootstrap within each task. None for fewer than two pairs, and
            for fewer than ``LEAST_PAIRS`` without any variance.
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


@dataclass(frozen=True)
class RunComparison:
    """Ratio of the second figure to the first, for timed runs, which are unpaired.

    Args:
        ratio: Median of the second row's runs over that of the first's.
        interval: 95 % bootstrap interval of the ratio, each row resampled independently.
        runs: Runs of the first and of the second.
    """

    ratio: float
    interval: Interval | None
    runs: tuple[int, int]

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes one, and both rows have enough runs to say so."""
        if self.interval is None or min(self.runs) < LEAST_RUNS:
            return False
        return not self.interval[0] <= 1 <= self.interval[1]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**asdict(self), "distinguishable": self.distinguishable}


def compare_runs(first: Row, second: Row, *, seed: int = 0) -> RunComparison:
    """Compare two figures whose items are timed runs."""
    _require_figures(first, second)
    ratio, interval = bootstrap_ratio(first.items, second.items, seed=seed)
    return RunComparison(ratio, interval, (len(first.items), len(second.items)))


def compare_rows(first: Row, second: Row, *, seed: int = 0) -> RowComparison:
    """Compare two figures of the same kind."""
    _require_figures(first, second)
    strata = first.details.get(STRATA, [])
    same = len(first.items) == len(second.items) and strata == second.details.get(STRATA, [])
    if not same or any(row.details.get(RUNS) for row in (first, second)):
        raise AutopruneError(
            f"{first.suite} {first.name}: {len(first.items)} and {len(second.items)} items cannot "
            "be paired; measure both with this version"
        )
    differences = [b - a for a, b in zip(first.items, second.items, strict=True)]
    if strata:
        mean, interval = bootstrap_strata(differences, strata, seed=seed)
    else:
        # The interval of `compare`: percentile bootstraps over 5 to 20 windows are too narrow.
        found = contrast(differences)
        mean = math.fsum(differences) / len(differences)
        interval = None if found is None else found.interval()
    if interval and math.isclose(*interval) and len(differences) < LEAST_PAIRS:
        interval = None
    higher = sum(value > 0 for value in differences)
    lower = sum(value < 0 for value in differences)
    # A perplexity is the exponential of the mean of its items, so their difference is its ratio.
    ratio = math.exp(mean) if first.metric == "perplexity" else None
    return RowComparison(mean, interval, len(differences), higher, lower, ratio)


def _require_figures(first: Row, second: Row) -> None:
    require_same_protocol(first, second)
    for row in (first, second):
        if row.status != "ok":
            raise AutopruneError(f"{row.describe()} has no figure to compare")
        if not row.items:
            raise AutopruneError(f"{row.describe()} holds no items to compare")


def require_same_protocol(first: Row, second: Row) -> None:
    """Refuse to put figures of different protocols side by side."""
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
