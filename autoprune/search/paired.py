"""Paired comparison: two recipes on the same windows differ by a mean and its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL_95 = 1.960


@dataclass(frozen=True)
class Difference:
    """Mean difference in nats per token with its 95 % interval; negative: the first is better.

    Args:
        windows: Number of pairs.
    """

    mean: float
    low: float
    high: float
    windows: int

    @property
    def better(self) -> bool:
        """The interval lies below zero."""
        return self.high < 0.0

    @property
    def worse(self) -> bool:
        """The interval lies above zero."""
        return self.low > 0.0

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``unclear``."""
        return "better" if self.better else "worse" if self.worse else "unclear"

    @property
    def interval(self) -> tuple[float, float] | None:
        """Low and high end; None for a single window, whose interval is unbounded."""
        return (self.low, self.high) if self.windows > 1 else None

    @property
    def p(self) -> float:
        """Two-sided p-value by Student's t, like the interval; 1 for a single window."""
        if self.windows < 2 or self.mean == 0.0:
            return 1.0
        if self.error == 0.0:
            return 0.0
        from scipy.special import stdtr  # type: ignore[import-untyped]

        return float(2 * stdtr(self.windows - 1, -abs(self.mean) / self.error))

    @property
    def error(self) -> float:
        """Standard error of the mean, in nats per token; infinite for a single window."""
        return (self.high - self.mean) / _quantile(self.windows)

    @property
    def perplexity_change(self) -> float:
        """Relative change of perplexity: exp(mean) - 1."""
        return _relative(self.mean)

    @property
    def perplexity_interval(self) -> tuple[float, float] | None:
        """The interval as relative changes; None if there is none."""
        ends = self.interval
        return None if ends is None else (_relative(ends[0]), _relative(ends[1]))


def _relative(nats: float) -> float:
    return math.expm1(min(nats, 700.0))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Student's t interval of the per-window differences ``first - second``.

    Windows are paired in order; the longer sequence is cut, since rungs share their first windows.
    With a single pair the interval is unbounded: one window proves nothing.
    """
    pairs = min(len(first), len(second))
    if pairs == 0:
        raise ValueError("no common window; measure both recipes on the same windows")
    deltas = [first[index] - second[index] for index in range(pairs)]
    mean = math.fsum(deltas) / pairs
    if pairs == 1:
        return Difference(mean, -math.inf, math.inf, 1)
    variance = math.fsum((delta - mean) ** 2 for delta in deltas) / (pairs - 1)
    half = _quantile(pairs) * math.sqrt(variance / pairs)
    return Difference(mean, mean - half, mean + half, pairs)


def _quantile(pairs: int) -> float:
    return T_95[pairs - 2] if pairs - 2 < len(T_95) else NORMAL_95


def rank_correlation(*groups: tuple[Sequence[float], Sequence[float]]) -> float | None:
    """Spearman's correlation, pooled over groups that are ranked separately.

    Ties get mean ranks. None for fewer than three pairs in total, or without spread.
    """
    left: list[float] = []
    right: list[float] = []
    for first, second in groups:
        if len(first) != len(second):
            raise ValueError(f"{len(first)} values against {len(second)}; pair them")
        centre = (len(first) + 1) / 2
        left += [rank - centre for rank in _ranks(first)]
        right += [rank - centre for rank in _ranks(second)]
    if len(left) < 3:
        return None
    covariance = math.fsum(a * b for a, b in zip(left, right, strict=True))
    spread = math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))
    return covariance / spread if spread else None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for index in order[start:stop]:
            ranks[index] = (start + 1 + stop) / 2
        start = stop
    return ranks
