"""The promotion gate, check by check."""

from typing import Any

import pytest

from autoprune.comparison.gate import Check, judge


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


def check(name: str, champion: dict[str, Any] | None, challenger: dict[str, Any]) -> Check:
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
