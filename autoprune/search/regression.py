"""A small Bayesian regression in plain Python, whose bits no thread count changes.

A Gaussian process whose kernel is linear in sparse features plus a bump around each known point:
points near a known one share its outcome, and new ones have a wide spread. How much the features
explain is chosen by the marginal likelihood (empirical Bayes; Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, sections 2.2 and 5.4).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul

Features = Mapping[str, float]
# Variance of a feature's weight relative to that of the noise; the likelihood chooses.
RATIOS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
# Squared distance of features at which two points no longer share more than the linear part.
WIDTH = 2.0
# Prior of the noise: worth this many outcomes with this deviation, in the unit of the outcomes.
PRIOR_OUTCOMES, PRIOR_DEVIATION = 2.0, 0.02
# Only the latest outcomes are used, so that a long search does not slow down.
MOST_ROWS = 120


@dataclass(frozen=True)
class Forecast:
    """A forecast of one number.

    Args:
        mean: Its expected value.
        spread: Its standard deviation, noise included; above zero.
    """

    mean: float
    spread: float

    def below(self, line: float) -> float:
        """Probability that it is no higher than ``line``."""
        return 0.5 * math.erfc((self.mean - line) / (self.spread * math.sqrt(2.0)))


class Regression:
    """Forecasts outcomes from features.

    Args:
        rows: Features of each known point; a missing name counts as 0.
        outcomes: One finite number per row; at least two.
    """

    def __init__(self, rows: Sequence[Features], outcomes: Sequence[float]) -> None:
        rows, outcomes = rows[-MOST_ROWS:], outcomes[-MOST_ROWS:]
        self._names = sorted({name for row in rows for name in row})
        given = [[row.get(name, 0.0) for name in self._names] for row in rows]
        self._means = [math.fsum(column) / len(rows) for column in zip(*given, strict=True)]
        self._points = [self._centred(row) for row in rows]
        self._level = math.fsum(outcomes) / len(outcomes)
        centred = [outcome - self._level for outcome in outcomes]
        shared = [
            [_kernel(a, b) for b in self._points[: n + 1]] for n, a in enumerate(self._points)
        ]
        fits = (_Fit(shared, centred, ratio) for ratio in RATIOS)
        self._fit = max(fits, key=lambda fit: fit.evidence)

    def forecast(self, features: Features) -> Forecast:
        """Mean and spread of the outcome at a new point."""
        fit, point = self._fit, self._centred(features)
        # Features that no known point has only add to the spread.
        new = math.fsum(v * v for name, v in features.items() if name not in self._names)
        shared = [fit.ratio * _kernel(point, known, new) for known in self._points]
        mean = math.fsum(a * b for a, b in zip(shared, fit.weights, strict=True))
        half = _forward(fit.factor, shared)
        own = fit.ratio * (_kernel(point, point) + new)
        rest = max(0.0, own - math.fsum(value * value for value in half))
        # The level is a mean of as many outcomes.
        variance = fit.noise * (1.0 + rest + 1.0 / len(self._points))
        return Forecast(self._level + mean, math.sqrt(variance))

    def _centred(self, features: Features) -> list[float]:
        pairs = zip(self._names, self._means, strict=True)
        return [features.get(name, 0.0) - mean for name, mean in pairs]


class _Fit:
    """The posterior under one ratio: Cholesky factor, weights, noise variance, log evidence."""

    def __init__(
        self, shared: Sequence[Sequence[float]], centred: Sequence[float], ratio: float
    ) -> None:
        count = len(centred)
        self.ratio = ratio
        lower = [[ratio * value for value in row] for row in shared]
        for place, row in enumerate(lower):
            row[place] += 1.0
        self.factor = _cholesky(lower)
        half = _forward(self.factor, centred)
        self.weights = _backward(self.factor, half)
        explained = math.fsum(value * value for value in half)
        prior = PRIOR_OUTCOMES * PRIOR_DEVIATION**2
        self.noise = (prior + explained) / (PRIOR_OUTCOMES + count)
        logs = math.fsum(math.log(row[place]) for place, row in enumerate(self.factor))
        freedom = PRIOR_OUTCOMES + count
        self.evidence = -logs - 0.5 * freedom * math.log(prior + explained)


def _kernel(first: Sequence[float], second: Sequence[float], apart: float = 0.0) -> float:
    """Linear part and bump; ``apart``: squared distance along features only one point has."""
    apart += math.fsum((a - b) ** 2 for a, b in zip(first, second, strict=True))
    linear = math.fsum(map(mul, first, second))
    return linear + math.exp(-apart / WIDTH)


def _cholesky(lower: list[list[float]]) -> list[list[float]]:
    factor: list[list[float]] = []
    for row in lower:
        made: list[float] = []
        for place in range(len(row) - 1):
            above = factor[place]
            rest = row[place] - math.fsum(map(mul, made, above))
            made.append(rest / above[place])
        made.append(math.sqrt(row[-1] - math.fsum(value * value for value in made)))
        factor.append(made)
    return factor


def _forward(factor: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    found: list[float] = []
    for row, value in zip(factor, right, strict=True):
        rest = value - math.fsum(map(mul, row, found))
        found.append(rest / row[-1])
    return found


def _backward(factor: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    found = list(right)
    for place in reversed(range(len(found))):
        found[place] /= factor[place][place]
        for above in range(place):
            found[above] -= factor[place][above] * found[place]
    return found
