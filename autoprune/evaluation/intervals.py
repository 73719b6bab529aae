"""Intervals: of shares by Wilson, of all else by a seeded percentile bootstrap."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
# Two-sided 95 % quantile of the normal distribution.
Z_95 = 1.960
# Resamples are drawn in pieces of about this many numbers, so that many items stay cheap.
_PIECE = 4_000_000

Interval = tuple[float, float]
# From resamples [r, items, ...] to one number each, [r].
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def wilson(hits: int, count: int) -> Interval:
    """95 % interval of a share, by Wilson's score: not a point even where all items agree."""
    share, square = hits / count, Z_95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    half /= 1 + square / count
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_mean(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, Interval | None]:
    """Mean of ``values`` with a percentile bootstrap interval."""
    if not len(values):
        raise ValueError("a mean needs at least one value")
    return _bootstrap(values, _mean, seed, resamples, level)


def bootstrap_strata(
    values: Sequence[float],
    sizes: Sequence[int],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, Interval | None]:
    """Mean of the means of consecutive groups, each resampled independently."""
    data = np.asarray(values, np.float64)
    if not sizes or min(sizes) < 1 or sum(sizes) != data.size:
        raise ValueError(f"groups of {list(sizes)} items are not the {data.size} items given")
    groups = np.split(data, np.cumsum(sizes)[:-1])
    mean = float(np.mean([group.mean() for group in groups]))
    if max(sizes) < 2 or not np.isfinite(mean):
        return mean, None
    draws = [
        bootstrap_statistic(group, _mean, (seed, number), resamples)
        for number, group in enumerate(groups)
    ]
    return mean, _percentiles(np.mean(draws, axis=0), level)


def bootstrap_median(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, Interval | None]:
    """Median of ``values`` with a percentile bootstrap interval, as :func:`bootstrap_mean`."""
    return _bootstrap(values, _median, seed, resamples, level)


def bootstrap_ratio(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, Interval | None]:
    """Median of ``second`` over that of ``first``; both are resampled, since they are unpaired."""
    pair = [np.asarray(values, np.float64) for values in (first, second)]
    ratio = float(np.median(pair[1]) / np.median(pair[0]))
    if min(data.size for data in pair) < 2:
        return ratio, None
    below, above = (
        bootstrap_statistic(data, _median, (seed, number), resamples)
        for number, data in enumerate(pair)
    )
    return ratio, _percentiles(above / below, level)


def bootstrap_slope(
    x: Sequence[float],
    y: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, Interval | None]:
    """Least-squares slope of ``y`` over ``x`` with a bootstrap interval over pairs."""
    pairs = np.column_stack([np.asarray(x, np.float64), np.asarray(y, np.float64)])
    if len(set(x)) < 2:
        raise ValueError("a slope needs at least two different dates")
    slope = float(_slopes(pairs[None])[0])
    draws = bootstrap_statistic(pairs, _slopes, seed, resamples)
    # A resample of one single date has no slope.
    return slope, _percentiles(draws[np.isfinite(draws)], level)


def _bootstrap(
    values: Sequence[float], statistic: Statistic, seed: int, resamples: int, level: float
) -> tuple[float, Interval | None]:
    data = np.asarray(values, np.float64)
    found = float(statistic(data[None])[0])
    if data.size < 2 or not np.isfinite(found):
        return found, None
    return found, _percentiles(bootstrap_statistic(data, statistic, seed, resamples), level)


def bootstrap_statistic(
    data: NDArray[np.float64], statistic: Statistic, seed: int | tuple[int, ...], resamples: int
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


def _median(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    medians: NDArray[np.float64] = np.median(draws, axis=1)
    return medians


def _slopes(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = draws - draws.mean(axis=1, keepdims=True)
    spread = (centred[..., 0] ** 2).sum(axis=1)
    spread = np.where(spread == 0, np.nan, spread)
    slopes: NDArray[np.float64] = (centred[..., 0] * centred[..., 1]).sum(axis=1) / spread
    return slopes


def _percentiles(draws: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
