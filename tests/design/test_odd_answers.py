"""Answers that parse and would break what reads them later, when they are on record for good."""

import json
import random

import pytest

from autoprune.design.chat import Reply
from autoprune.design.parsing import (
    AnswerForm,
    Proposal,
    Unreadable,
    read_answer,
)
from autoprune.design.source import DEEPEST_CODE
from autoprune.search.moves import recipe_key
from sandbox.screen import MAX_DEPTH, screen
from tests.support.damaged_answers import damaged

RANGES = {"mrp": {"damp": (0.001, 0.1)}, "ebft": {"rate": (0.003, 0.03)}}
OFFERED = ("none", "mrp", "ebft", "sparsegpt:select=own+ebft:epochs=2", "walk:mrp")
ALLOCATIONS = ("uniform", "ramp", "sdsa", "formula")
LANGUAGES = ("expression", "python", "both")

DEEP = (
    "-" * 480 + "W",
    "+".join(["W"] * 480),
    "(" * 90 + "W" + ")" * 90,
    "W" + ".T" * 480,
    "W" + "[0]" * 480,
    "abs(" * 120 + "W" + ")" * 120,
    "lambda: " * 300 + "W",
    "W if W else " * 300 + "W",
    "not " * 480 + "W",
    "[" * 120 + "W" + "]" * 120,
    "9" * 4000,
    "0x" + "f" * 4000,
    "1e999 * W",
)
REPAIRS = (
    "+".join(["ebft"] * 480),
    "+".join(["ebft"] * 30),
    "ebft+ebft",
    "walk:" * 30 + "mrp",
    "walk:" + "walk :" * 30 + "mrp",
    "walk:mrp+" + "+".join(["ebft"] * 20),
    "+".join(["mrp"] * 480),
    "+".join(["dsnot"] * 30) + "+mrp",
    "ebft:epochs=" + "9" * 310,
    "ebft:epochs=" + "9" * 5000,
    "ebft:epochs=-" + "9" * 120,
    "ebft:rate=1e999",
    "ebft:rate=nan",
    "mrp:damp=" + "9" * 150,
)
BUDGETS = (
    "formula:" + "-" * 480 + "depth",
    "formula:" + "+".join(["depth"] * 480),
    "formula:" + "9" * 5000,
    "formula:0.1*depth + " + "1" * 310,
    "formula:1e999",
    "ramp:half_width=" + "9" * 400,
    "ramp:half_width=-inf",
    "sdsa:strength=nan",
)


def form(language: str) -> AnswerForm:
    return AnswerForm(
        language,  # type: ignore[arg-type]
        ("row", "matrix"),
        ALLOCATIONS,
        ("wanda",),
        repairs=OFFERED,
        ranges=RANGES,
    )


def carried_on(text: str, language: str, reason: str = "stop") -> Proposal | Unreadable:
    """Read an answer and do with it what the search does once the answer is on record."""
    found = read_answer(Reply(text, finish_reason=reason), form(language))  # type: ignore[arg-type]
    if isinstance(found, Proposal):
        assert recipe_key(found.recipe)
        again = json.loads(json.dumps(found.recipe.to_json()))
        assert recipe_key(type(found.recipe).from_json(again)) == recipe_key(found.recipe)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("deep", DEEP, ids=range(len(DEEP)))
def test_deep_and_huge_code_and_formulas_are_verdicts(deep: str, language: str) -> None:
    body = f"def score(W, stats, params):\n    return {deep}\n"
    for text in (
        f"```python\n{body}```",
        f"metric: {deep}",
        f"because: x\nmetric: abs(W) * ({deep})",
    ):
        found = carried_on(text, language)
        assert isinstance(found, Unreadable) or len(found.candidate.source) < 8000


@pytest.mark.parametrize("repair", REPAIRS, ids=range(len(REPAIRS)))
def test_odd_repairs_are_verdicts(repair: str) -> None:
    found = carried_on(f"metric: abs(W)\nrepair: {repair}\n", "expression")
    assert isinstance(found, Unreadable) and found.code == "bad_choice"
    assert len(found.detail) <= 400


@pytest.mark.parametrize("budget", BUDGETS, ids=range(len(BUDGETS)))
def test_odd_budgets_are_verdicts(budget: str) -> None:
    found = carried_on(f"metric: abs(W)\nallocation: {budget}\n", "expression")
    assert isinstance(found, Unreadable) and found.code == "bad_choice"
    assert len(found.detail) <= 400


def test_what_is_read_is_read_again_however_much_longer_it_is_written() -> None:
    budget = "formula:" + "+".join([".19"] * 50)
    found = carried_on(f"metric: abs(W)\nallocation: {budget}\n", "expression")
    assert isinstance(found, Proposal) and len(found.allocation) > len(budget)


def test_code_may_be_as_deep_as_the_sandbox_takes_it() -> None:
    assert DEEPEST_CODE == MAX_DEPTH
    for levels, kind in ((80, Proposal), (100, Unreadable)):
        body = f"def score(W, stats, params):\n    return {'-' * levels}W\n"
        found = carried_on(f"```python\n{body}```", "python")
        assert isinstance(found, kind), found
        assert (screen(body) is None) == isinstance(found, Proposal)
    assert isinstance(found, Unreadable) and found.code == "bad_code"
    assert found.detail == "the code is nested more than 100 deep; split it into steps"


def test_a_whole_number_without_a_decimal_text_is_refused() -> None:
    body = "def score(W, stats, params):\n    return W.abs() * 0x" + "f" * 4000
    found = carried_on(f"```python\n{body}\n```", "both")
    assert isinstance(found, Unreadable) and found.code == "bad_code"
    assert found.detail.startswith("line 2: a whole number of 16000 bits; at most 1024")


def test_damaged_answers_with_such_spikes_go_all_the_way() -> None:
    rng, read = random.Random(3), 0
    for number in range(3000):
        lines = damaged(rng)[:12_000].splitlines()
        spike = rng.choice(
            [
                f"metric: {rng.choice(DEEP)}",
                f"repair: {rng.choice(REPAIRS)}",
                f"allocation: {rng.choice(BUDGETS)}",
                f"```python\ndef score(W, stats, params):\n    return {rng.choice(DEEP)}\n```",
                "```python\ndef score(W, stats, params):\n    return W.abs()\n```",
                "repair: ebft:epochs=3",
            ]
        )
        lines.insert(rng.randrange(len(lines) + 1), spike)
        found = carried_on("\n".join(lines), LANGUAGES[number % 3])
        read += isinstance(found, Proposal)
    assert read > 100
