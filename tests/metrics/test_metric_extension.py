"""One factor more: valid, complete, and worth what it says."""

import random
from collections.abc import Collection

import pytest
import torch

from autoprune.metrics.language import (
    BASIC_TERMINALS,
    ExpressionError,
    factor_extensions,
    mutate,
    parse,
    random_expression,
)

WANDA = parse("abs(W) * x_norm")


def added(
    text: str, *, across_rows: bool = False, terminals: Collection[str] = BASIC_TERMINALS
) -> list[str]:
    found = factor_extensions(parse(text), terminals=terminals, across_rows=across_rows)
    return [extension.added for extension in found]


def test_every_value_multiplies_and_divides_but_what_is_a_factor_already() -> None:
    values = ("col_norm(W)", "col_max(abs(W))", "abs(x_mean)", "x_var", "x_max")
    assert added("abs(W) * x_norm") == [f"{s} {v} ** 0.5" for v in values for s in "*/"]
    # An exponent or a place in a product does not hide a factor; a sum does.
    assert "* x_norm ** 0.5" not in added("x_max / (abs(W) * x_norm ** {a:0.7})")
    assert "* x_norm ** 0.5" in added("abs(W) + x_norm")
    assert added("abs(W)", terminals={"W", "x_norm"})[4:] == ["* x_norm ** 0.5", "/ x_norm ** 0.5"]


def test_rows_have_factors_only_where_they_compete() -> None:
    rows = {f"{s} {v} ** 0.5" for v in ("row_norm(W)", "row_max(abs(W))") for s in "*/"}
    assert set(added("abs(W) * x_norm", across_rows=True)) - set(added("abs(W) * x_norm")) == rows
    torch.manual_seed(0)
    weight, stats = torch.randn(6, 8), {"x_norm": torch.rand(8) + 0.1}
    order = WANDA.evaluate(weight, stats).argsort(1)
    for text in rows:
        longer = parse(f"{WANDA.text} {text}").evaluate(weight, stats)
        assert torch.equal(longer.argsort(1), order)


def test_an_extension_is_the_formula_times_or_by_the_root() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 8)
    stats = {name: torch.rand(8) + 0.1 for name in ("x_norm", "x_mean", "x_var", "x_max")}
    base = WANDA.evaluate(weight, stats)
    found = {
        e.added: e
        for e in factor_extensions(WANDA, terminals=BASIC_TERMINALS, across_rows=False)
    }  # fmt: skip
    root = weight.norm(dim=0, keepdim=True).sqrt()
    more, less = found["* col_norm(W) ** 0.5"], found["/ col_norm(W) ** 0.5"]
    assert torch.allclose(more.expression.evaluate(weight, stats), base * root)
    assert torch.allclose(less.expression.evaluate(weight, stats), base / root)
    assert (more.opposite, less.opposite) == (less.added, more.added)
    # The exponent can be tuned.
    tuned = more.expression.evaluate(weight, stats, {"a": 1.0})
    assert torch.allclose(tuned, base * root.square())


@pytest.mark.parametrize("seed", range(5))
def test_extensions_of_any_formula_are_valid_and_keep_its_constants(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        whole = mutate(random_expression(rng), rng)
        found = factor_extensions(whole, terminals=BASIC_TERMINALS, across_rows=True)
        assert len({e.expression.digest for e in found}) == len(found)
        for extension in found:
            again = parse(extension.expression.text)
            assert again.text == extension.expression.text
            assert whole.constants.items() <= again.constants.items()
            assert len(again.constants) == len(whole.constants) + 1


def test_a_formula_at_the_size_limit_has_none() -> None:
    terms = 1
    while True:
        try:
            longer = parse(" + ".join(["abs(W)"] * (terms + 1)))
        except ExpressionError:
            break
        whole, terms = longer, terms + 1
    assert factor_extensions(whole, terminals=BASIC_TERMINALS, across_rows=True) == []
