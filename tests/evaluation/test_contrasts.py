"""Contrasts: how often intervals hold the truth, what p means, and several tests at once."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from autoprune.evaluation.contrasts import Contrast, contrast, holm
from autoprune.evaluation.intervals import bootstrap_mean

REPETITIONS = 3000
# Spread of the paired differences of windows that tables have, and of what is left beside it.
WINDOWS_SPREAD, REST = 0.055, 0.02
# Skewness of 3.3; a percentile bootstrap of ten such windows covers 84 % for 95.
LOG_SPREAD = 0.75


def effects(generator: np.random.Generator, shape: str, size: int) -> NDArray[np.float64]:
    normal = generator.standard_normal(size)
    if shape == "normal":
        return normal
    square = LOG_SPREAD**2
    scale = math.sqrt((math.exp(square) - 1) * math.exp(square))
    made: NDArray[np.float64] = (np.exp(LOG_SPREAD * normal) - math.exp(square / 2)) / scale
    return made


@pytest.mark.parametrize("spread", [0.0, 0.016])
@pytest.mark.parametrize("shape", ["normal", "log-normal"])
@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("windows", [10, 100])
def test_an_interval_holds_the_mean_as_often_as_it_promises(
    windows: int, draws: int, shape: str, spread: float
) -> None:
    generator = np.random.default_rng(0)
    held = rejected = 0
    for _ in range(REPETITIONS):
        of_draws = spread * generator.standard_normal(draws)
        noise = REST * generator.standard_normal((windows, draws))
        data = WINDOWS_SPREAD * effects(generator, shape, windows)[:, None] + of_draws + noise
        found = contrast(data)
        assert found is not None
        # One draw cannot tell its own effect from the mean: its interval is of windows only.
        truth = float(of_draws[0]) if draws == 1 else 0.0
        low, high = found.interval()
        held += low <= truth <= high
        if truth == 0.0 and rejected < 50:
            # The p says what the interval says.
            excluded = not low <= 0 <= high
            rejected += excluded
            assert (found.p < 0.05) == excluded
    assert held / REPETITIONS >= 0.94, held / REPETITIONS


def test_the_percentile_bootstrap_that_it_replaces_does_not() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        _, interval = bootstrap_mean(effects(generator, "log-normal", 10).tolist(), resamples=500)
        assert interval is not None
        held += interval[0] <= 0 <= interval[1]
    assert held / 400 < 0.89


def test_an_interval_holds_draws_as_well_as_windows() -> None:
    """The same windows, with and without a difference between draws."""
    windows = np.array([0.01, -0.02, 0.03, 0.0, -0.01, 0.02, -0.03, 0.01])[:, None]
    calm, moved = windows + np.zeros(3), windows + np.array([-0.05, 0.0, 0.05])
    narrow, wide = contrast(calm), contrast(moved)
    assert narrow is not None and wide is not None
    assert narrow.mean == pytest.approx(wide.mean)
    assert narrow.draw_error == 0 and wide.draw_error == pytest.approx(0.05 / math.sqrt(3))
    # Student's t of two degrees of freedom: 4.303.
    low, high = wide.interval()
    assert high - low > 2 * 4.3 * wide.draw_error
    assert narrow.p < 0.9 < 1.0 and wide.p > narrow.p


def test_one_draw_of_symmetric_windows_is_student_s_t() -> None:
    found = contrast([-0.3, -0.1, 0.0, 0.1, 0.3])
    assert found is not None and found.skew == pytest.approx(0)
    # 2.776: four degrees of freedom.
    half = 2.7764451 * math.sqrt(0.05 / 5)
    assert found.interval() == pytest.approx((-half, half), rel=1e-6)
    assert found.p == pytest.approx(1.0)


def test_what_cannot_be_compared_has_no_contrast() -> None:
    assert contrast([1.0]) is None
    assert contrast([[1.0, 2.0]]) is None
    assert contrast([1.0, math.inf]) is None
    assert contrast(np.zeros((3, 0))) is None
    same, none = contrast([-0.2] * 4), contrast([0.0] * 4)
    assert same is not None and none is not None
    # Four of one sign: the sign test.
    assert (same.interval(), same.p, none.p) == ((same.mean, same.mean), 0.125, 1.0)


def test_the_sides_mirror() -> None:
    values = np.exp(np.linspace(-1, 1, 12)) - 1.0
    there, back = contrast(values), contrast(-values)
    assert there is not None and back is not None
    low, high = there.interval()
    assert back.interval() == pytest.approx((-high, -low))
    assert there.p == pytest.approx(back.p)
    # It leans to where the long tail is.
    assert high - there.mean > there.mean - low


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_smallest_difference_is_found_as_often_as_the_power_says() -> None:
    generator = np.random.default_rng(1)
    truth = Contrast(0.0, 0.055 / math.sqrt(40), 0.0, 0.0, 40, 1).detectable(family=5)
    found = 0
    for _ in range(2000):
        made = contrast(truth + 0.055 * generator.standard_normal(40))
        assert made is not None
        found += made.p < 0.05 / 5
    assert 0.77 < found / 2000 < 0.83
    once = Contrast(0.0, 0.055 / math.sqrt(40), 0.0, 0.0, 40, 1).detectable()
    assert once < truth
