"""Grammars of answers: every rule that is used exists, and single parts leave no way around."""

import re
from random import Random

import pytest

from autoprune.candidate import Candidate
from autoprune.design.formulas import BLANK, blanked
from autoprune.design.grammar import answer_grammar
from autoprune.metrics.language import gbnf, parse
from autoprune.search import SearchSpec

CHOICES = SearchSpec(model="m", corpus="c").choices
NOT_NAMES = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]])*\]|\{[^}]*\}')


def rules_of(grammar: str) -> dict[str, str]:
    rules: dict[str, str] = {}
    for line in grammar.strip().splitlines():
        name, _, body = line.partition(" ::= ")
        assert name not in rules
        rules[name] = body
    return rules


@pytest.mark.parametrize("part", [None, "metric", "allocation", "repair", "group"])
@pytest.mark.parametrize("formula", ["abs(W) * x_norm", "abs(W) + x_norm ** {a:0.5}", "abs(W)"])
def test_every_rule_that_is_used_exists(part: str | None, formula: str) -> None:
    for seed in range(6):
        blank = blanked(Candidate("expression", formula), Random(seed))
        place = blank if part == "metric" else None
        rules = rules_of(answer_grammar(gbnf(), CHOICES, ("wanda",), part=part, blank=place))
        for body in rules.values():
            for name in re.findall(r"[a-zA-Z][a-zA-Z0-9-]*", NOT_NAMES.sub(" ", body)):
                assert name in rules


def test_what_stands_now_cannot_be_chosen_again() -> None:
    rules = rules_of(answer_grammar(gbnf(), CHOICES, ("wanda",), part="repair", now="mrp"))
    assert '"mrp"' not in rules["solver"] and '"sparsegpt"' in rules["solver"]
    assert '"none"' not in rules["solver"]
    # With another number it may.
    assert '"mrp:damp=0.02"' in rules["solver"] and '"mrp:damp=0.01"' not in rules["solver"]
    assert '"none"' in rules_of(answer_grammar(gbnf(), CHOICES, ("wanda",)))["solver"]
    assert "group" not in rules and "allocation" not in rules["root"]


@pytest.mark.parametrize("formula", ["abs(W) * x_norm ** {a:0.7}", "abs(W) + sqrt(x_max)", "W"])
def test_a_filled_blank_is_a_formula(formula: str) -> None:
    for seed in range(8):
        blank = blanked(Candidate("expression", formula), Random(seed))
        assert blank is not None and BLANK in blank.shown
        fill = "x_norm ** {0.5}" if blank.after else " * x_norm ** {0.5}"
        filled = parse(f"{blank.before}{fill}{blank.after}")
        assert filled.digest != parse(formula).digest
