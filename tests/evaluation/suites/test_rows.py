"""Figures of different protocols are never put side by side; intervals are what they claim."""

import dataclasses
import math

import numpy as np
import pytest

from autoprune.errors import AutopruneError, UnknownNameError, UsageError
from autoprune.evaluation.contrasts import contrast
from autoprune.evaluation.intervals import bootstrap_mean, bootstrap_slope, wilson
from autoprune.evaluation.suites import SUITES, build_suite, build_suites
from autoprune.evaluation.suites.comparison import ProtocolMismatchError, compare_rows
from autoprune.evaluation.suites.rows import Row, RowContext

CONTEXT = RowContext("lm", {"seqlen": 512, "dtype": "float32"}, {"model": "m"})


def row(items: list[float], **protocol: object) -> Row:
    value = math.exp(sum(items) / len(items))
    return CONTEXT.figure("text", "perplexity", value, items=tuple(items), protocol=protocol)


def test_other_protocol_is_refused_with_every_difference() -> None:
    with pytest.raises(ProtocolMismatchError, match=r"seqlen is 512 and 2048; windows is None"):
        compare_rows(row([1.0, 2.0]), row([1.0, 2.0], seqlen=2048, windows=3))
    other = dataclasses.replace(row([1.0, 2.0]), name="elsewhere")
    with pytest.raises(ProtocolMismatchError, match="name is 'text' and 'elsewhere'"):
        compare_rows(row([1.0, 2.0]), other)


def test_comparison_is_paired() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(3, 1, 40)
    first, second = row(list(base)), row(list(base + 0.01 + rng.normal(0, 0.001, 40)))
    found = compare_rows(first, second)
    # Unpaired, 0.01 is lost in a spread of 1; paired, it is beyond doubt.
    assert found.distinguishable
    assert found.items == found.higher == 40
    assert found.ratio == pytest.approx((second.value or 0) / (first.value or 1))
    same = compare_rows(first, first)
    assert (same.difference, same.distinguishable) == (0.0, False)


def test_the_interval_of_a_comparison_is_that_of_compare() -> None:
    rng = np.random.default_rng(4)
    base, apart = rng.normal(3, 1, 8), rng.normal(0.05, 0.1, 8)
    found = compare_rows(row(list(base)), row(list(base + apart)))
    expected = contrast((base + apart) - base)
    assert expected is not None and found.interval == pytest.approx(expected.interval())
    assert compare_rows(row([1.0]), row([2.0])).interval is None


def test_items_that_all_agree_are_no_certainty() -> None:
    none, every = (CONTEXT.accuracy("task", [value] * 24) for value in (False, True))
    assert none.interval == wilson(0, 24) == pytest.approx((0, 0.138), abs=1e-3)
    assert every.interval == pytest.approx((0.862, 1), abs=1e-3)
    # Differences may be below 0, so zeros are no share of them.
    gain = CONTEXT.accuracy("task", [0.0] * 24, differences=True)
    assert (gain.value, gain.interval) == (0.0, None)
    for pairs, sure in ((3, False), (5, False), (6, True)):
        first, second = (CONTEXT.accuracy("task", [value] * pairs) for value in (True, False))
        found = compare_rows(first, second)
        assert (found.difference, found.distinguishable) == (-1.0, sure)
        assert (found.interval is None) != sure
    grouped = [CONTEXT.accuracy("group", [v] * 4, strata=[2, 2]) for v in (True, False)]
    assert [row.interval for row in grouped] == [None, None]
    assert not compare_rows(*grouped).distinguishable


def test_groups_of_items_count_the_same_and_are_paired_group_by_group() -> None:
    rng = np.random.default_rng(2)
    scores = [float(value) for value in rng.integers(0, 2, 200)]
    first = CONTEXT.accuracy("group", [*scores, 1.0, 0.0], strata=[200, 2])
    assert first.value == pytest.approx((sum(scores) / 200 + 0.5) / 2)
    second = CONTEXT.accuracy("group", [*scores, 1.0, 1.0], strata=[200, 2])
    found = compare_rows(first, second)
    # One more right of two is a quarter of the group's figure, however many the others are.
    assert found.difference == pytest.approx(0.25) == (second.value or 0) - (first.value or 0)
    assert (found.items, found.higher, found.lower) == (202, 1, 0)
    assert found.interval is not None and found.interval[0] == 0.0 and found.interval[1] == 0.5
    with pytest.raises(AutopruneError, match="cannot be paired"):
        compare_rows(first, CONTEXT.accuracy("group", [*scores, 1.0, 1.0], strata=[2, 200]))
    with pytest.raises(ValueError, match="not the 202 items"):
        CONTEXT.accuracy("group", [*scores, 1.0, 0.0], strata=[200, 3])


def test_rows_without_figures_or_pairs_are_refused() -> None:
    broken = CONTEXT.figure("text", "perplexity", math.nan)
    assert (broken.status, broken.value) == ("not_finite", None)
    with pytest.raises(AutopruneError, match="no figure"):
        compare_rows(row([1.0]), broken)
    with pytest.raises(AutopruneError, match="cannot be paired"):
        compare_rows(row([1.0]), row([1.0, 2.0]))
    with pytest.raises(ValueError, match="does not go with"):
        Row("lm", "text", "perplexity", None)


def test_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        mean, interval = bootstrap_mean(list(rng.normal(0, 1, 50)), seed=trial, resamples=400)
        assert interval is not None and interval[0] <= mean <= interval[1]
        hits += interval[0] <= 0 <= interval[1]
    assert 0.88 <= hits / 200 <= 0.99
    assert bootstrap_mean([2.0]) == (2.0, None)
    assert bootstrap_mean([1.0, 2.0, 4.0], seed=5) == bootstrap_mean([1.0, 2.0, 4.0], seed=5)


def test_slope_is_least_squares() -> None:
    x = [2020.0, 2021.0, 2022.0, 2023.0, 2024.0] * 4
    slope, interval = bootstrap_slope(x, [1 - 0.1 * (value - 2020) for value in x])
    assert slope == pytest.approx(-0.1)
    assert interval == pytest.approx((-0.1, -0.1))
    with pytest.raises(ValueError, match="two different dates"):
        bootstrap_slope([1.0, 1.0], [0.0, 1.0])


def test_text_form() -> None:
    first, second = build_suites("reasoning:generators=addition+chain,items=3,reasoning")
    assert (first.generators, first.items, first.name) == (("addition", "chain"), 3, "reasoning")  # type: ignore[attr-defined]
    assert second == build_suite("reasoning")
    assert build_suites("reasoning,items=3") == [build_suite("reasoning", items=3)]
    with pytest.raises(UnknownNameError, match="did you mean reasoning"):
        build_suite("reasonning")
    with pytest.raises(UsageError, match="has no parameter 'colour'"):
        build_suite("reasoning", colour=1)
    with pytest.raises(UsageError, match="has no parameter 'colour'; allowed: generators"):
        build_suite("reasoning:colour=1")
    with pytest.raises(UsageError, match="items='many' is not understood; use a whole"):
        build_suite("reasoning:items=many")
    with pytest.raises(UsageError, match="at least one"):
        build_suites(" , ")
    assert "reasoning" in SUITES
