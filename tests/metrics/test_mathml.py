"""Formulas become well-formed MathML; never markup of the formula's own."""

import random
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.metrics.language import ExpressionError, mathml, parse, random_expression
from autoprune.metrics.language.vocabulary import TERMINALS
from tests.support.sample_run import FORMULAS


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_label_of_a_drawn_formula_is_its_text(formula: str) -> None:
    assert ET.fromstring(parse(formula).to_mathml()).get("aria-label") == formula


def words(formula: str) -> str:
    return "".join(ET.fromstring(parse(formula).to_mathml()).itertext())


@pytest.mark.parametrize(
    ("formula", "drawn"),
    [
        ("W * (2 + x_norm)", "W·(2+‖x‖)"),
        ("(W * 2) + x_norm", "W·2+‖x‖"),
        ("W - (2 - x_norm)", "W−(2−‖x‖)"),
        ("(W - 2) - x_norm", "W−2−‖x‖"),
        ("(W + 3) ** 2", "|W+3|2"),
        ("(W + 2) / (x_norm + 3)", "W+2‖x‖+3"),
        ("W * -x_norm", "W·−‖x‖"),
        ("(-W) ^ 2", "|−W|2"),
        ("(W ** 3) ** 2", "||W|3|2"),
        ("sq(W) * exp(x_mean) ** 2", "W2·|ex¯|2"),
        ("sqrt(W) + sqrt(x_norm) + abs(W) ** 2", "|W|+‖x‖+|W|2"),
        ("W * sqrt(x_max) * x_max ** 2", "W·max|x|·|max|x||2"),
        ("abs(W) * row_mean(x_norm)", "|W|·meanrow(‖x‖)"),
    ],
)
def test_brackets_follow_precedence(formula: str, drawn: str) -> None:
    assert words(formula) == drawn


def test_every_terminal_has_a_sign() -> None:
    assert set(mathml._TERMINALS) == set(TERMINALS)


def test_tunable_constants_are_named_and_valued_at_the_end() -> None:
    assert words("abs(W) ** {a:0.50} * {b:2}") == "|W|a·ba=0.5b=2"
    assert words("abs(W) * {0.5} + {alpha_2:-1e-6}") == "|W|·a+α2a=0.5α2=-1e-06"


def test_every_random_expression_of_the_language_is_drawn() -> None:
    for seed in range(200):
        ET.fromstring(random_expression(random.Random(seed)).to_mathml())


@given(st.text(max_size=60))
def test_no_text_breaks_it(formula: str) -> None:
    try:
        expression = parse(f"W * ({formula})")
    except ExpressionError:
        return
    ET.fromstring(expression.to_mathml())
