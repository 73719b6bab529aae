"""The GBNF grammar: everything it generates parses, and it holds the known metrics."""

import random
import re

import pytest

from autoprune.metrics.language import BASIC_TERMINALS, FUNCTIONS, TERMINALS, gbnf, parse
from tests.support.gbnf_walker import Grammar

EVERYTHING = tuple(TERMINALS)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("terminals", [BASIC_TERMINALS, EVERYTHING, ("W",), ("W", "grad_norm")])
def test_every_generated_text_parses(levels: int, terminals: tuple[str, ...]) -> None:
    grammar = Grammar(gbnf(terminals, levels=levels))
    rng = random.Random(levels)
    seen: set[str] = set()
    for _ in range(700):
        text = grammar.generate(rng)
        expression = parse(text, terminals=terminals)
        seen.add(expression.text)
        # Canonical already, but for the names of constants and needless parentheses.
        assert parse(expression.text).text == expression.text
        assert grammar.accepts(text)
    assert len(seen) > (200 if levels == 2 else 50)


@pytest.mark.parametrize("levels", [1, 2])
def test_the_longest_text_is_within_the_size_limit(levels: int) -> None:
    longest = Grammar(gbnf(EVERYTHING, levels=levels)).generate(random.Random(0), longest=True)
    assert parse(longest).size <= 200
    assert len(longest) < 2000


@pytest.mark.parametrize(
    "text",
    [
        "abs(W)",
        "abs(W) * x_norm",
        "abs(W) * x_norm ** {0.5}",
        "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) * x_norm ** {0.5}",
        "abs(W) * (x_norm + {25} * grad_norm)",
        "sq(W) * minmax(grad_norm)",
        "sq(W) * hessian_diag",
        "rank(abs(W)) * x_max / x_norm + rank(W) ** {2}",
        "abs(W) / row_std(W) * log1p(x_max)",
    ],
)
def test_known_metrics_are_in_the_grammar(text: str) -> None:
    assert parse(text)
    assert Grammar(gbnf(EVERYTHING)).accepts(text)


@pytest.mark.parametrize(
    "text", ["", "x_norm", "W * ", "abs(W)*x_norm", "foo(W)", "W ** x_norm", "W\n", "abs(W) * W("]
)
def test_what_is_no_formula_is_not_in_the_grammar(text: str) -> None:
    assert not Grammar(gbnf(EVERYTHING)).accepts(text)


def test_rules_are_complete_small_and_not_recursive() -> None:
    text = gbnf(EVERYTHING)
    rules = dict(line.split(" ::= ") for line in text.strip().splitlines())
    assert len(text) < 4000
    uses = {
        name: set(re.findall(r"[a-z][a-z0-9-]*", re.sub(r'"[^"]*"|\[[^\]]*\]', " ", body)))
        for name, body in rules.items()
    }
    reached: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name in rules, f"rule {name} is missing"
        assert name not in path, f"rule {name} is recursive"
        reached.add(name)
        for used in uses[name]:
            visit(used, (*path, name))

    visit("root", ())
    assert reached == set(rules), f"never used: {set(rules) - reached}"
    for function in FUNCTIONS:
        assert f'"{function}' in text


def test_levels_are_checked() -> None:
    with pytest.raises(ValueError, match="allowed: 1 or 2"):
        gbnf(levels=3)
