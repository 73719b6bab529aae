"""The promotion gate, check by check."""

import math
import re
from typing import Any

import pytest

from autoprune.comparison.gate import GateCheck, judge
from autoprune.search.paired import paired_difference


def model(target: float | None, nll: list[float] | None = None) -> dict[str, Any]:
    """A measured checkpoint of 1,000 prunable weights with this share of zeros."""
    zeros = round(1000 * (target or 0.0))
    counts = {"zeros": zeros, "prunable": 1000}
    asked = counts | {"target": target, "pattern": "unstructured"}
    return {
        "nll": nll or [3.0, 3.1, 3.2],
        "perplexity": 20.0,
        "bytes": 9,
        "recount": counts,
        "recorded": None if target is None else asked,
        "reload": {"ok": True, "detail": ""},
    }


def check(name: str, champion: dict[str, Any] | None, challenger: dict[str, Any]) -> GateCheck:
    verdict = judge(champion, challenger, accept_tie=False, larger_by=0.0)
    (found,) = [check for check in verdict.checks if check.name == name]
    assert found.ok or not verdict.passed
    return found


@pytest.mark.parametrize(
    ("champion", "challenger", "passes"),
    # One registered name, `.s60`, stands for 59.7 % and for 60.4 %.
    [(0.604, 0.597, False), (0.6, 0.3, False), (0.597, 0.604, True), (0.6, 0.6 - 1e-12, True)],
)
def test_fewer_zeros_than_the_champions_do_not_pass(
    champion: float, challenger: float, passes: bool
) -> None:
    found = check("sparsity", model(champion), model(challenger))
    assert found.ok == passes
    assert passes or "fewer zeros were asked than of the champion" in found.detail


def test_a_champion_without_a_target_is_no_measure_of_zeros() -> None:
    # It was registered by hand, or a scheme made it, whose parameters are compared.
    by_scheme = model(None) | {"recorded": {"scheme": "depth", "total": 9, "share": 0.2}}
    assert check("sparsity", model(None), model(0.3)).ok
    assert check("sparsity", None, model(0.3)).ok
    challenger = model(0.3)
    challenger["recount"]["total"], by_scheme["recount"]["total"] = 9, 9
    assert check("sparsity", by_scheme, challenger).ok


@pytest.mark.parametrize(
    ("windows", "quantile"), [(5, 2.776445), (32, 2.039513), (100, 1.984217), (1000, 1.962341)]
)
def test_the_interval_is_that_of_students_t(windows: int, quantile: float) -> None:
    # Differences of one size and both signs around a mean, whose error is known.
    signs = [(-1.0) ** number for number in range(windows)]
    spread = math.fsum(sign * sign for sign in signs) - math.fsum(signs) ** 2 / windows
    error = 100 * math.sqrt(spread / (windows - 1) / windows)
    for times, better in ((quantile - 2e-3, False), (quantile + 2e-3, True)):
        middle = math.fsum(signs) / windows
        shifts = [100 * (sign - middle) - times * error for sign in signs]
        found = check(
            "perplexity",
            model(0.5, [500.0] * windows),
            model(0.5, [500.0 + shift for shift in shifts]),
        )
        assert found.ok is better and ("a tie" in found.detail) is not better
        ends = re.search(r"difference ([-+.\d]+) to ([-+.\d]+) nats", found.detail)
        assert ends is not None
        for end, side in zip(ends.groups(), (-1, 1), strict=True):
            assert float(end) == pytest.approx((side * quantile - times) * error, abs=2e-4)


def test_a_search_keeps_the_quantile_by_which_its_log_was_written() -> None:
    # Between 1.960 and 1.984 standard errors: a search sees a difference, the gate a tie.
    one = 0.1 / math.sqrt(99)
    losses = [3.0 + (-1) ** number * 0.1 - 1.97 * one for number in range(100)]
    assert paired_difference(losses, [3.0] * 100).better
    assert not check("perplexity", model(0.5, [3.0] * 100), model(0.5, losses)).ok


def test_one_window_decides_nothing() -> None:
    found = check("perplexity", model(0.5, [3.0]), model(0.5, [1.0]))
    assert not found.ok and "-inf to +inf" in found.detail
