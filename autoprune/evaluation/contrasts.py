"""Paired contrasts over windows crossed with calibration draws, one or several at once.

Both windows and draws are samples: another text or other calibration windows would give other
figures. Both affect the mean, and their variances are estimated separately.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

from autoprune.evaluation.intervals import LEVEL

POWER = 0.80
# Below this, the tail of an error model means nothing.
LEAST_P = 1e-12
_HALVINGS = 60
# A small sample shows less skewness than the text has. With this correction, divided by the number
# of windows, intervals reach their nominal coverage: tests/evaluation/test_contrasts.py.
_SKEWNESS_WINDOWS = 5.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """A mean difference and its uncertainty.

    Args:
        mean: Mean over windows and draws.
        window_error: Standard error due to the choice of windows.
        draw_error: Standard error due to the choice of draws; 0 with one draw, from which it cannot
            be estimated.
        skew: Skewness of the mean over windows, which makes the interval asymmetric.
        windows: Windows, at least 2.
        draws: Calibration draws.
    """

    mean: float
    window_error: float
    draw_error: float
    skew: float
    windows: int
    draws: int

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The means that are not rejected at ``1 - level``, two-sided."""
        below, above = self._reach((1 - level) / 2)
        return self.mean - below, self.mean + above

    @property
    def p(self) -> float:
        """Two-sided p of no difference: one minus the level of the interval that ends at zero.

        Without any variance it is that of the sign test, which knows how few the windows are.
        """
        if self.window_error == 0 and self.draw_error == 0:
            return 1.0 if self.mean == 0 else max(LEAST_P, 2.0 ** (1 - self.windows))
        side = 0 if self.mean > 0 else 1
        low, high = math.log(LEAST_P / 2), math.log(0.5)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._reach(math.exp(middle))[side] > abs(self.mean):
                low = middle
            else:
                high = middle
        return min(1.0, 2 * math.exp(high))

    def detectable(self, family: int = 1, *, level: float = LEVEL, power: float = POWER) -> float:
        """Smallest difference that would be detected with probability ``power``."""
        tails = (1 - level) / 2 / max(family, 1), 1 - power
        return math.fsum(max(self._reach(tail)) for tail in tails)

    def _reach(self, tail: float) -> tuple[float, float]:
        """How far the interval extends below and above the mean with this share in each tail.

        The window and draw parts have few degrees of freedom each. They are combined by the squares
        of their own half-widths (MOVER), which keeps the nominal coverage where Satterthwaite's
        degrees of freedom of three draws do not (92 % instead of 95).
        """
        quantile = -float(stdtrit(self.windows - 1, tail))
        above = max(quantile, -_bent(-quantile, self.skew)) * self.window_error
        below = max(quantile, _bent(quantile, self.skew)) * self.window_error
        by_draws = -float(stdtrit(self.draws - 1, tail)) * self.draw_error if self.draw_error else 0
        return math.hypot(below, by_draws), math.hypot(above, by_draws)


def contrast(differences: ArrayLike) -> Contrast | None:
    """Mean of paired differences with an error that covers windows and draws.

    Two-way random effects without replication, ``d[w, k] = mean + a[w] + b[k] + e[w, k]``; the
    variance of the mean is that of ``a`` by windows, ``b`` by draws and ``e`` by both.

    References:
        Skewness: Hall, Journal of the Royal Statistical Society B 54 (1992), page 221. Two
        variances: Zou and Donner, Statistics in Medicine 27 (2008), page 1693.
    """
    data = np.asarray(differences, np.float64)
    data = data[:, None] if data.ndim == 1 else data
    windows, draws = data.shape
    if windows < 2 or not draws or not np.isfinite(data).all():
        return None
    rows, mean = data.mean(axis=1), float(data.mean())
    window_error = math.sqrt(float(rows.var(ddof=1)) / windows)
    draw_error = 0.0
    if draws > 1:
        columns = data.mean(axis=0)
        rest = data - rows[:, None] - columns[None, :] + mean
        alone = float((rest**2).sum()) / ((windows - 1) * (draws - 1))
        # The variance of a draw's mean that comes from its windows is already in the other part.
        between = float(columns.var(ddof=1)) - alone / windows
        draw_error = math.sqrt(max(between, 0.0) / draws)
    skew = _skewness(rows) / math.sqrt(windows)
    return Contrast(mean, window_error, draw_error, skew, windows, draws)


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-value of each of several tests; controls the family-wise error rate.

    References:
        Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, highest = [0.0] * len(values), 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[number]))
        adjusted[number] = highest
    return adjusted


def _skewness(values: Matrix) -> float:
    """Skewness of a sample, corrected for what a small one hides."""
    size = len(values)
    centred = values - values.mean()
    scale = math.sqrt(float((centred**2).sum()) / (size - 1))
    if size < 3 or scale == 0:
        return 0.0
    plain = size / ((size - 1) * (size - 2)) * float(((centred / scale) ** 3).sum())
    return plain * (1 + _SKEWNESS_WINDOWS / size)


def _bent(t: float, skew: float) -> float:
    """Inverse at ``t`` of Hall's monotone transformation ``x + k (x^2/3 + 1/6) + k^2 x^3/27``."""
    bend = skew / 3
    if abs(bend) < 1e-9:
        return t
    return (float(np.cbrt(1 + 3 * bend * (t - skew / 6))) - 1) / bend
