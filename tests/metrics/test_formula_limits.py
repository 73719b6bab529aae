"""Formulas that the host evaluates take neither the machine's memory nor hours."""

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.metrics.language import compiler, parse
from autoprune.metrics.language.compiler import MOST_HELD, matrices_held


def squares(count: int) -> str:
    """A sum of different parts, each of which comes up twice and is held to the end."""
    parts = (f"sqrt(abs(W) + {n}) * sqrt(abs(W) + {n})" for n in range(1, count + 1))
    return " + ".join(parts)


def test_what_is_held_at_once_is_known_without_evaluating() -> None:
    assert matrices_held(parse("abs(W) * x_norm").tree) == 2
    assert matrices_held(parse("x_norm * x_norm + abs(W)").tree) == 2
    # Each part stays, and abs(W) is shared by all; the sum so far and the sum that is made.
    few, many = (matrices_held(parse(squares(n)).tree) for n in (5, 10))
    assert many - few == 5


def test_too_much_memory_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_HELD == 16
    weight = torch.randn(4, 6)
    assert torch.isfinite(parse(squares(10)).evaluate(weight, {})).all()
    monkeypatch.setattr(compiler, "MOST_HELD", 8)
    with pytest.raises(UsageError, match="at most 8 are allowed"):
        parse(squares(10)).evaluate(weight, {})


def test_too_much_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "LEAST_SECONDS", -1.0)
    with pytest.raises(UsageError, match="was not done with a layer of"):
        parse("abs(W) + 1").evaluate(torch.randn(2, 2), {})
