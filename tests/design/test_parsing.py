"""Any text is a proposal or a coded rejection; nothing crashes, nothing runs."""

import json
import random
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.allocation import build_allocator
from autoprune.candidate import Candidate
from autoprune.design.chat import Reply
from autoprune.design.parsing import (
    AnswerForm,
    Prediction,
    Proposal,
    Unreadable,
    cut_reply,
    normalised,
    one_line,
    read_answer,
    read_lesson,
    read_python,
)
from autoprune.design.parts import Choices
from autoprune.design.repairs import example, read_repair, repair_forms
from autoprune.design.schema import answer_schema
from autoprune.metrics.language import parse
from autoprune.recipe import Recipe
from autoprune.search.moves import recipe_key
from tests.support.damaged_answers import CODE, GOOD, WHOLE, damaged

FORM = AnswerForm("both", ("row", "matrix"), ("uniform", "sdsa"), ("wanda", "C3"))
WANDA = Recipe(Candidate("builtin", "wanda"), "row", "sdsa", "mrp")
PARTS = (("row", "matrix"), ("uniform", "sdsa", "formula"), ("wanda", "C3"))
FORMS = (
    FORM,
    AnswerForm("expression", *PARTS, repairs=("none", "mrp")),
    *(
        AnswerForm("expression", *PARTS, repairs=("none", "mrp"), base=WANDA, part=part)
        for part in ("metric", "group", "allocation", "repair")
    ),
)
CODES = {
    "empty",
    "refused",
    "truncated",
    "too_long",
    "no_metric",
    "bad_metric",
    "bad_code",
    "bad_choice",
}


def read(text: str) -> Proposal | Unreadable:
    return read_answer(Reply(text), FORM)


def test_whole_answer() -> None:
    found = read(GOOD)
    assert found == Proposal(
        "outliers matter",
        Prediction("better", "wanda"),
        Candidate("expression", "abs(W) * x_max"),
        "matrix",
        "sdsa",
    )


@pytest.mark.parametrize(
    "text",
    [
        "**Metric:** `abs(W) * x_max`",
        "- metric: abs(W)*x_max",
        "Sure! Here it is.\n\nMETRIC = abs(W) * x_max\nI hope it helps.",
        "metric: abs(W) * x_max\nmetric: W",
        "metric: abs(W) * x_max\r\ngroup: row\r\n",
        "1. because: it is so\n2. metric: abs(W) * x_max\n",
        "1) **metric**: abs(W) * x_max",
        "\u2022 metric: abs(W) * x_max",
        "<think>\nmetric: abs(W)\n```python\ndef score(): 1\n```\n</think>\nmetric: abs(W) * x_max",
        "```\nbecause: it is so\nmetric: abs(W) * x_max\n```",
        'Here:\n```json\n{"metric": "abs(W) * x_max"}\n```',
    ],
)
def test_what_small_models_wrap_around_it(text: str) -> None:
    found = read(text)
    assert isinstance(found, Proposal), found
    assert found.candidate.source == "abs(W) * x_max"
    assert (found.group, found.allocation) == ("row", "uniform")
    assert found.prediction == Prediction("better", "wanda", stated=False)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("I cannot help with that.", "no_metric"),
        ("metric: abs(V)", "bad_metric"),
        ("metric: x_norm", "bad_metric"),
        ("metric: __import__('os').system('id')", "bad_metric"),
        ("metric: abs(W)\ngroup: column", "bad_choice"),
        ("metric: abs(W)\nallocation: everything", "bad_choice"),
        ("```python\ndef score(W):\n    return W\n```", "bad_code"),
        ("```python\nscore = 1\n```", "bad_code"),
        ("```python\ndef score(W, stats, params:\n```", "bad_code"),
        ("```python\n\x00\n```", "bad_code"),
        ("metric: " + "abs(" * 5000 + "W" + ")" * 5000, "too_long"),
        ("metric: " + "(" * 900 + "W" + ")" * 900, "bad_metric"),
        ("x" * 30_000, "too_long"),
        ("métrique : abs(W) fois x", "no_metric"),
        ("metric: аbs(W)", "bad_metric"),
    ],
)
def test_rejections_have_codes(text: str, code: str) -> None:
    found = read(text)
    assert isinstance(found, Unreadable)
    assert found.code == code
    assert "\n" not in found.detail and len(found.detail) <= 400


def test_cut_off_answers_are_not_read() -> None:
    found = read_answer(Reply(GOOD, finish_reason="length"), FORM)
    assert isinstance(found, Unreadable)
    assert (found.code, found.because) == ("truncated", "outliers matter")
    assert read_answer(Reply("", finish_reason="error"), FORM).code == "refused"  # type: ignore[union-attr]


def test_whole_recipes_and_single_parts() -> None:
    whole, free, metric, group, allocation, repair = (read_answer(Reply(WHOLE), f) for f in FORMS)
    assert isinstance(whole, Unreadable) and whole.code == "bad_choice"
    assert isinstance(free, Proposal)
    formula = "formula:0.1 * depth - 0.05 * tail"
    wanted = Recipe(Candidate("expression", "abs(W) * x_max"), "matrix", formula, "mrp")
    assert free.recipe == wanted
    for found, name in ((metric, "metric"), (group, "group"), (allocation, "allocation")):
        assert isinstance(found, Proposal)
        assert found.recipe == replace(WANDA, **{name: getattr(wanted, name)})
    assert isinstance(repair, Proposal) and repair.recipe == WANDA
    missing = read_answer(Reply("because: nothing to say\n"), FORMS[4])
    assert isinstance(missing, Unreadable) and missing.code == "bad_choice"


def test_python_block() -> None:
    found = read("because: simple\n" + CODE)
    assert isinstance(found, Proposal)
    assert found.candidate.kind == "python"
    assert read(CODE.replace("```python", "```text\nmetric: W\n```\n```python3")) == replace(
        found, because=""
    )
    only = AnswerForm("expression", ("row",), ("uniform",))
    assert read_answer(Reply(CODE), only).code == "no_metric"  # type: ignore[union-attr]


PROGRAM = """def prune_layer(W, stats, budget, params):
    # repair: none
    # Group: matrix
    group = W[:, 0:4]
    allocation = group.abs()
    return W
"""


@pytest.mark.parametrize(
    ("opened", "closed"),
    [("```python\n", "```"), ("``` python\n", "```"), ("~~~python\n", "~~~"), ("```py3.11\n", "")],
)
def test_lines_of_code_are_no_fields_however_it_is_fenced(opened: str, closed: str) -> None:
    form = AnswerForm("program", ("row", "matrix"), ("uniform",), repairs=("none", "ebft"))
    text = f"because: simple\nrepair: ebft\n{opened}{PROGRAM}{closed}"
    found = read_answer(Reply(text), form)
    assert isinstance(found, Proposal), found
    assert (found.group, found.repair) == ("row", "ebft")
    assert found.candidate.source == PROGRAM


def test_code_that_differs_in_names_and_comments_is_the_same() -> None:
    first = "def score(W, stats, params):\n    a = W.abs()\n    return a * 2\n"
    second = (
        'def score(W, stats, params):\n    """Doubled."""\n    size = W.abs()  # magnitude\n'
        "    return size * 2\n"
    )
    other = "def score(W, stats, params):\n    a = W.abs()\n    return a * 3\n"
    texts = [normalised(Candidate("python", source)) for source in (first, second, other)]
    assert texts[0] == texts[1] != texts[2]


def test_every_proposal_predicts_and_what_is_left_out_is_marked() -> None:
    for text, expected in [
        ("worse than C3", Prediction("worse", "C3")),
        ("worse than C99", Prediction("worse", "wanda", stated=False, unknown="C99")),
        ("the best", Prediction("better", "wanda", stated=False)),
        ("-1.5 % against C3.", Prediction("better", "C3", forecast="-1.5 %")),
        ("-1.5 % vs C99", Prediction("better", "wanda", forecast="-1.5 %", unknown="C99")),
        ("+2 % against the best line", Prediction("worse", "wanda", forecast="+2 %")),
        ("-2,5 % against C3", Prediction("better", "C3", forecast="-2.5 %")),
        ("-1.2345 %", Prediction("better", "wanda", forecast="-1.2345 %")),
        ("\u20103 %", Prediction("better", "wanda", forecast="-3 %")),
        ("\u20113 %", Prediction("better", "wanda", forecast="-3 %")),
        ("\uff0d3 % against C3", Prediction("better", "C3", forecast="-3 %")),
        ("-3 % (against C3)", Prediction("better", "C3", forecast="-3 %")),
        ("**-3 %** against C3", Prediction("better", "C3", forecast="-3 %")),
        ("-3 % against `C3`", Prediction("better", "C3", forecast="-3 %")),
        ("2 % better than C3", Prediction("better", "C3", forecast="-2 %")),
        ("2 % lower perplexity than C3", Prediction("better", "C3", forecast="-2 %")),
        ("better than C3 by 2 %", Prediction("better", "C3", forecast="-2 %")),
        ("2 % worse than C3", Prediction("worse", "C3", forecast="+2 %")),
        ("higher than C3", Prediction("worse", "C3")),
        ("3 % improvement relative to C3", Prediction("better", "C3", forecast="-3 %")),
        ("-3 % compared to C3", Prediction("better", "C3", forecast="-3 %")),
        ("-3 % over C3", Prediction("better", "C3", forecast="-3 %")),
        ("2 % against C3", Prediction("worse", "C3", forecast="+2 %")),
    ]:
        found = read(f"expect: {text}\nmetric: abs(W)")
        assert isinstance(found, Proposal)
        assert found.prediction == expected
    nothing = read_answer(Reply("metric: abs(W)"), replace(FORM, aliases=()))
    assert isinstance(nothing, Proposal) and nothing.prediction is None


RANGES = {"mrp": {"damp": (0.001, 0.1)}, "ebft": {"rate": (0.003, 0.03)}}
REPAIRS = ("none", "mrp", "mrp:select=own", "walk:mrp", "ebft:epochs=2")


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("mrp:damp=0.05", "mrp:damp=0.05"),
        ("MRP: damp = 0.010.", "mrp"),
        ("mrp:select=own,damp=0.02", "mrp:damp=0.02,select=own"),
        ("walk:mrp:damp=0.1", "walk:mrp:damp=0.1"),
        ("ebft:epochs=3,rate=0.02", "ebft:epochs=3,rate=0.02"),
    ],
)
def test_numbers_of_an_allowed_repair_may_be_written(written: str, read_as: str) -> None:
    assert read_repair(written.lower().rstrip("."), REPAIRS, RANGES) == read_as
    form = replace(FORMS[1], repairs=REPAIRS, ranges=RANGES)
    found = read_answer(Reply(f"metric: abs(W)\nrepair: {written}"), form)
    assert isinstance(found, Proposal) and found.repair == read_as


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("mrp:damp=5", "repair mrp: damp=5 must be 0.001 to 0.1"),
        ("ebft:epochs=40", "epochs=40 must be 1 to 4"),
        ("mrp:columns=3", "numbers: mrp:damp 0.001 to 0.1, ebft:epochs 1 to 4, ebft:rate"),
        ("mrp+ebft", "repair is one of: none, mrp, "),
        ("alps:damp=0.02", "repair is one of: none, mrp, "),
        ("mrp:dampp=1", "no parameter 'dampp'"),
        ("mrp:damp=nan", "not understood"),
    ],
)
def test_other_numbers_and_repairs_are_refused_on_one_line(written: str, part: str) -> None:
    form = replace(FORMS[1], repairs=REPAIRS, ranges=RANGES)
    found = read_answer(Reply(f"metric: abs(W)\nrepair: {written}"), form)
    assert isinstance(found, Unreadable) and found.code == "bad_choice"
    assert part in found.detail and "\n" not in found.detail


def test_forms_of_repairs_are_all_allowed() -> None:
    forms = repair_forms(REPAIRS, RANGES)
    assert {"walk:mrp:damp=0.02", "ebft:epochs=3", "mrp:damp=0.02,select=own"} <= set(forms)
    assert [read_repair(form, REPAIRS, RANGES) for form in forms] == forms
    drawn = {example(REPAIRS, RANGES, Random(seed)) for seed in range(20)}
    assert len(drawn) > 3 and drawn <= set(forms)
    assert example(("none", "dsnot"), RANGES, Random(0)) == ""


def test_an_answer_may_be_one_json_object() -> None:
    choices = Choices(("row", "matrix"), ("uniform", "sdsa"), REPAIRS, RANGES)
    schema = answer_schema(choices)
    values = {
        "because": "it\nis so",
        "expect": "+2.50 % against C3",
        "metric": "abs(W) * x_max",
        "group": "matrix",
        "allocation": "sdsa",
        "repair": "mrp:damp=0.02",
    }
    assert schema["required"] == list(values) and not schema["additionalProperties"]
    for name, field in schema["properties"].items():
        assert values[name] in field.get("enum", [values[name]])
    form = replace(FORM, repairs=REPAIRS, ranges=RANGES)
    found = read_answer(Reply(json.dumps(values, indent=1)), form)
    assert isinstance(found, Proposal)
    assert (found.because, found.prediction) == (
        "it is so",
        Prediction("worse", "C3", forecast="+2.5 %"),
    )
    assert (found.candidate.source, found.repair) == ("abs(W) * x_max", "mrp:damp=0.02")
    part = answer_schema(choices, part="repair", now="mrp")["properties"]
    assert part.keys() == {"because", "expect", "repair"}
    assert not {"mrp", "none"} & {*part["repair"]["enum"]}
    assert read_lesson(Reply('{"lesson": "large inputs matter"}')) == "large inputs matter"
    for text in ('{"metric": 3}', '{"a":' * 100_000, '{"metric": "abs(W)"', "{}"):
        assert isinstance(read_answer(Reply(text), form), Unreadable)


def test_reasoning_is_one_printable_line() -> None:
    found = read("because: a\u202eb\x1b[31m\u200b<script>\nmetric: abs(W)")
    assert isinstance(found, Proposal)
    assert found.because == "a b [31m <script>"
    assert len(one_line("x " * 10_000)) <= 200


def test_lesson() -> None:
    assert read_lesson(Reply("lesson: large inputs matter\n")) == "large inputs matter"
    assert read_lesson(Reply("lesson: no")) is None
    drafted = "<think>\nlesson: small inputs matter\n</think>\nlesson: large inputs matter"
    assert read_lesson(Reply(drafted)) == "large inputs matter"
    cut = Reply("lesson: large inputs mat", finish_reason="length")
    assert read_lesson(cut) is None
    assert read_lesson(Reply("")) is None
    assert read_lesson(Reply(f"lesson: {'x' * 79} {'y' * 90}")) == "x" * 79
    fits = "x" * 79 + " " + "y" * 80
    assert read_lesson(Reply(f"lesson: {fits} more")) == fits
    assert read_lesson(Reply("lesson: " + "z" * 300)) == "z" * 160


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=600))
def test_any_text(text: str) -> None:
    for language in ("expression", "python", "both"):
        form = AnswerForm(language, ("row",), ("uniform",))  # type: ignore[arg-type]
        check(read_answer(Reply(text), form))
        check(read_answer(Reply(f"metric: {text}"), form))
        check(read_answer(Reply(f"```python\n{text}\n```"), form))


def check(found: Proposal | Unreadable) -> None:
    if isinstance(found, Unreadable):
        assert found.code in CODES | {"no_code"}
        assert "\n" not in found.detail and "\n" not in found.because
    elif found.candidate.kind == "expression":
        assert parse(found.candidate.source).text == found.candidate.source
    elif found.candidate.kind == "python":
        assert isinstance(read_python(found.candidate.source), Candidate)


def test_ten_thousand_broken_answers() -> None:
    rng, endings = random.Random(1), random.Random(2)
    seen: dict[str, int] = {}
    for number in range(10_000):
        # Servers cut answers off and refuse them too, and say nothing at times.
        text = damaged(rng) if number % 97 else " \n" * (number % 3)
        reason = endings.choice(("stop", "stop", "stop", "length", "error"))
        found = read_answer(Reply(text, finish_reason=reason), FORMS[number % len(FORMS)])
        check(found)
        if isinstance(found, Proposal):
            assert build_allocator(found.allocation).text == found.allocation
            assert found.repair in ("none", "mrp")
            assert found.prediction is not None
            assert recipe_key(found.recipe)
        code = found.code if isinstance(found, Unreadable) else "read"
        seen[code] = seen.get(code, 0) + 1
    assert seen.keys() >= CODES | {"read"}


@pytest.mark.parametrize(
    ("text", "change", "direction"),
    [
        ("5-10 % worse than wanda", "+10 %", "worse"),
        ("2\u20134 % worse than wanda", "+4 %", "worse"),
        ("-3 % against wanda", "-3 %", "better"),
        ("\u2212 2.5 % against wanda", "-2.5 %", "better"),
        ("-3\u20135 % against wanda", "-5 %", "better"),
        ("-3-5 %", "-5 %", "better"),
        ("+3-5 %", "+5 %", "worse"),
        ("3 % improvement against wanda", "-3 %", "better"),
        ("reduce perplexity by 3 %", "-3 %", "better"),
        ("drop of 2% vs wanda", "-2 %", "better"),
        ("rises by 2 %", "+2 %", "worse"),
        ("an increase of 2 %", "+2 %", "worse"),
    ],
)
def test_the_hyphen_of_a_range_is_no_minus(text: str, change: str, direction: str) -> None:
    found = read(f"expect: {text}\nmetric: abs(W)")
    assert isinstance(found, Proposal)
    assert (found.prediction.forecast, found.prediction.direction) == (change, direction)


def test_long_thoughts_do_not_cost_the_answer() -> None:
    thoughts = f"<think>{'let me see ' * 3000}</think>\nmetric: abs(W)"
    kept = cut_reply(Reply(thoughts))
    assert kept.text.strip() == "metric: abs(W)"
    assert len(cut_reply(Reply("x" * 30_000)).text) < 21_000
