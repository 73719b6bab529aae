"""The projection meets the budget, stays in bounds, keeps order and is nearest."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.allocation import project
from autoprune.errors import UsageError

cases = st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 10**7)), min_size=1, max_size=20)


def mean(rates: dict[str, float], numels: dict[str, int]) -> float:
    return math.fsum(rates[n] * numels[n] for n in rates) / sum(numels.values())


@given(cases, st.floats(0, 0.999))
def test_budget_bounds_order_and_idempotence(case: list[tuple[float, int]], target: float) -> None:
    raw = {f"u{i}": value for i, (value, _) in enumerate(case)}
    numels = {f"u{i}": size for i, (_, size) in enumerate(case)}
    rates = project(raw, numels, target)
    upper = max(0.95, (1 + target) / 2)
    assert mean(rates, numels) == pytest.approx(target, abs=1e-12)
    assert all(0.0 <= rate <= upper for rate in rates.values())
    names = sorted(raw, key=lambda name: raw[name])
    assert all(rates[a] <= rates[b] + 1e-12 for a, b in pairwise(names))
    again = project(rates, numels, target)
    assert all(again[name] == pytest.approx(rates[name], abs=1e-9) for name in rates)


@given(cases, st.floats(0.05, 0.9), st.integers(0, 1000))
def test_no_feasible_neighbour_is_nearer(
    case: list[tuple[float, int]], target: float, seed: int
) -> None:
    raw = torch.tensor([value for value, _ in case], dtype=torch.float64)
    sizes = torch.tensor([size for _, size in case], dtype=torch.float64)
    names = [f"u{i}" for i in range(len(case))]
    numels = dict(zip(names, (size for _, size in case), strict=True))
    rates = project(dict(zip(names, raw.tolist(), strict=True)), numels, target)
    found = torch.tensor(list(rates.values()), dtype=torch.float64)
    distance = float((sizes * (found - raw).square()).sum())
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        step = torch.randn(len(case), generator=generator, dtype=torch.float64) * 0.01
        step -= (sizes * step).sum() / sizes.sum()
        other = found + step
        if float(other.min()) >= 0.0 and float(other.max()) <= 0.95:
            assert float((sizes * (other - raw).square()).sum()) >= distance * (1 - 1e-9) - 1e-9


def test_unclipped_rates_keep_their_differences() -> None:
    numels = {"a": 10, "b": 30, "c": 60}
    rates = project({"a": 0.7, "b": 0.5, "c": 0.4}, numels, 0.6)
    assert rates["a"] - rates["b"] == pytest.approx(0.2, abs=1e-12)
    assert rates["b"] - rates["c"] == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("large", [1e7, 1e16, 1e308])
def test_very_large_rates_meet_the_budget_as_smaller_ones_do(large: float) -> None:
    numels = {"a": 10, "b": 30, "c": 60}
    rates = project({"a": large, "b": -large, "c": large / 2}, numels, 0.6)
    # As far apart as makes a difference, and near enough for floats.
    near = project({"a": 50.0, "b": -50.0, "c": 25.0}, numels, 0.6)
    assert rates == pytest.approx(near, abs=1e-12)
    assert mean(rates, numels) == pytest.approx(0.6, abs=1e-12)


@pytest.mark.parametrize(
    ("raw", "numels", "target", "lower", "upper", "message"),
    [
        ({"a": 0.5}, {"a": 1}, 0.5, 0.6, 0.9, "cannot be reached with rates between 0.6 and 0.9"),
        ({"a": 0.5}, {"a": 1}, 0.5, 0.0, 1.2, "cannot be reached"),
        ({"a": math.nan}, {"a": 1}, 0.5, 0.0, 1.0, "raw rate of a is nan"),
        ({"a": 0.5}, {"a": 1, "b": 1}, 0.5, 0.0, 1.0, "1 rates for 2 layers"),
        ({}, {}, 0.5, 0.0, 1.0, "0 rates for 0 layers"),
    ],
)
def test_impossible_budgets_are_refused(
    raw: dict[str, float],
    numels: dict[str, int],
    target: float,
    lower: float,
    upper: float,
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        project(raw, numels, target, lower, upper)
