"""Formulas become well-formed MathML, or None; never markup of the formula's own."""

import random
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.metrics.language.mutation import random_expression
from autoprune.report.mathml import to_mathml
from tests.support.sample_run import FORMULAS


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_formula_of_the_language_is_drawn(formula: str) -> None:
    text = to_mathml(formula)
    assert text is not None
    assert ET.fromstring(text).get("aria-label") == formula


def words(formula: str) -> str:
    text = to_mathml(formula)
    assert text is not None
    return "".join(ET.fromstring(text).itertext())


def test_parentheses_follow_precedence() -> None:
    assert words("a * (b + c)") == "a·(b+c)"
    assert words("(a * b) + c") == "a·b+c"
    assert words("a - (b - c)") == "a−(b−c)"
    assert words("(a - b) - c") == "a−b−c"
    assert words("(a + b) ** 2") == "(a+b)2"
    assert words("(a + b) / (c + d)") == "a+bc+d"
    assert words("a * -b") == "a·−b"
    assert words("(-a) ^ 2") == "(−a)2"
    assert words("(a ** b) ** c") == "(ab)c"
    assert words("abs(W) * row_mean(x_norm)") == "|W|·meanrow(‖x‖)"


def test_tunable_constants_are_named_and_valued_at_the_end() -> None:
    assert words("abs(W) ** {a:0.50} * {b:2}") == "|W|a·ba=0.5b=2"


def test_every_random_expression_of_the_language_is_drawn() -> None:
    for seed in range(200):
        text = random_expression(random.Random(seed)).text
        assert to_mathml(text) is not None, text


@pytest.mark.parametrize(
    "formula",
    ["", "def f(): pass", "a.b", "a[0]", "lambda: 1", "f(*x)", "a if b else c", "'x'", "a @ b",
     "(" * 500, "x" * 5000, "__import__('os').system('true')", "\x00", "True"],
)  # fmt: skip
def test_anything_else_is_left_to_be_shown_as_code(formula: str) -> None:
    assert to_mathml(formula) is None


@given(st.text(max_size=60))
def test_no_text_breaks_it(formula: str) -> None:
    text = to_mathml(formula)
    if text is not None:
        ET.fromstring(text)
