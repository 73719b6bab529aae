"""Paired intervals and rank correlation against their definitions."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.search.paired import T_95, paired_difference, rank_correlation

FIGURES = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 4))


def test_interval_of_a_worked_example() -> None:
    found = paired_difference([3.0, 4.0, 5.0, 9.9], [3.1, 4.4, 5.1])
    assert found.windows == 3
    assert found.mean == pytest.approx(-0.2)
    half = 4.303 * math.sqrt(0.03 / 3)
    assert (found.low, found.high) == pytest.approx((-0.2 - half, -0.2 + half))
    assert found.verdict == "unclear"
    assert found.perplexity_change == pytest.approx(math.exp(-0.2) - 1)


def test_table_is_students_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom, value in enumerate(T_95, 1):
        assert value == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)


def test_p_is_students_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    for shift in (0.02, 0.2, -0.4):
        first = [3.0 + shift, 4.1 + shift, 5.0 + shift, 2.2 + shift]
        second = [3.1, 4.0, 5.2, 2.1]
        exact = stats.ttest_rel(first, second).pvalue
        assert paired_difference(first, second).p == pytest.approx(exact, rel=5e-3)
    assert paired_difference([1.0], [2.0]).p == 1.0
    assert paired_difference([1.5, 2.5], [1.0, 2.0]).p == 0.0


def test_interval_covers_as_often_as_it_says() -> None:
    from random import Random

    rng = Random(3)
    hits = 0
    for _ in range(2000):
        noise = [rng.gauss(0.25, 1.0) for _ in range(5)]
        found = paired_difference(noise, [0.0] * 5)
        hits += found.low <= 0.25 <= found.high
    assert 0.93 < hits / 2000 < 0.97


def test_one_window_proves_nothing() -> None:
    assert paired_difference([1.0], [2.0]).verdict == "unclear"
    with pytest.raises(ValueError, match="no common window"):
        paired_difference([], [1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=2, max_size=12))
def test_swapping_the_sides_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert not (there.better and there.worse)


def test_rank_correlation() -> None:
    assert rank_correlation(([1, 2, 3, 4], [10, 20, 30, 40])) == pytest.approx(1.0)
    assert rank_correlation(([1, 2, 3, 4], [4, 3, 2, 1])) == pytest.approx(-1.0)
    assert rank_correlation(([1, 2, 2, 3], [1, 2, 3, 4])) == pytest.approx(0.9486833)
    assert rank_correlation(([1, 1, 1], [1, 2, 3])) is None
    assert rank_correlation(([1, 2], [1, 2])) is None
    # Each group is ranked by itself, however far apart they lie.
    assert rank_correlation(([1, 2], [7, 8]), ([9, 10, 11], [1, 2, 3])) == pytest.approx(1.0)
    assert rank_correlation(([1, 2], [8, 7]), ([9, 10], [1, 2])) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="2 values against 1"):
        rank_correlation(([1, 2], [1]))
