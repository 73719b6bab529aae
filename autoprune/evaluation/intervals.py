"""Bootstrap intervals of a mean and of paired differences; percentile method, seeded."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
# Resamples are drawn in pieces of about this many numbers, so that many items stay cheap.
_PIECE = 4_000_000

Interval = tuple[float, float]
# From resamples [r, items, ...] to one number each, [r].
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def bootstrap_mean(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, Interval | None]:
    """Mean of ``values`` with a percentile bootstrap interval.

    Args:
        values: One number per independent item (window, question).
        seed: Seed of the resampling.
        resamples: Number of resamples.
        level: Coverage of the interval.

    Returns:
        The mean and the interval; None for fewer than two items or a mean that is not finite.

    Raises:
        ValueError: If there is no value.
    """
    data = np.asarray(values, np.float64)
    if data.size == 0:
        raise ValueError("a mean needs at least one value")
    mean = float(data.mean())
    if data.size < 2 or not np.isfinite(mean):
        return mean, None
    return mean, _percentiles(bootstrap_statistic(data, _mean, seed, resamples), level)


def bootstrap_slope(
    x: Sequence[float],
    y: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, Interval | None]:
    """Least-squares slope of ``y`` over ``x`` with a bootstrap interval over pairs.

    Raises:
        ValueError: If ``x`` holds fewer than two different values.
    """
    pairs = np.column_stack([np.asarray(x, np.float64), np.asarray(y, np.float64)])
    if len(set(x)) < 2:
        raise ValueError("a slope needs at least two different dates")
    slope = float(_slopes(pairs[None])[0])
    draws = bootstrap_statistic(pairs, _slopes, seed, resamples)
    # A resample of one single date has no slope.
    return slope, _percentiles(draws[np.isfinite(draws)], level)


def bootstrap_statistic(
    data: NDArray[np.float64], statistic: Statistic, seed: int, resamples: int
) -> NDArray[np.float64]:
    """``statistic`` of ``resamples`` resamples of the rows of ``data``."""
    generator = np.random.default_rng(seed)
    step = max(1, _PIECE // data.size)
    pieces = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        pieces.append(statistic(data[generator.integers(0, len(data), (count, len(data)))]))
    return np.concatenate(pieces)


def _mean(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = draws.mean(axis=1)
    return means


def _slopes(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = draws - draws.mean(axis=1, keepdims=True)
    spread = (centred[..., 0] ** 2).sum(axis=1)
    spread = np.where(spread == 0, np.nan, spread)
    slopes: NDArray[np.float64] = (centred[..., 0] * centred[..., 1]).sum(axis=1) / spread
    return slopes


def _percentiles(draws: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
