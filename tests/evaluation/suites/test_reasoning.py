"""Generators have right answers, the suite grades what the model writes, greedy is greedy."""

import json
import re
from fractions import Fraction

import pytest
import torch

from autoprune.errors import UnknownNameError, UsageError
from autoprune.evaluation.generation import greedy_replies
from autoprune.evaluation.suites import build_suite
from autoprune.evaluation.suites.comparison import compare_rows
from autoprune.evaluation.suites.generators import GENERATORS, draw_items
from autoprune.evaluation.suites.reasoning import ReasoningSuite
from autoprune.evaluation.suites.rows import Row
from tests.support.tiny_subject import broken_subject, tiny_subject

NAMES = [name for name, _ in GENERATORS.items()]


@pytest.mark.parametrize("name", NAMES)
def test_items_are_seeded_distinct_and_stable(name: str) -> None:
    items = draw_items(name, 60, seed=3)
    assert len({item.question for item in items}) == 60
    assert draw_items(name, 20, seed=3) == items[:20]
    assert draw_items(name, 20, seed=4) != items[:20]
    assert draw_items(name, 20, seed=3, purpose="examples") != items[:20]
    for item in items:
        assert Fraction(item.answer) >= 0
        if item.solution:
            assert item.solution.endswith(f"= {item.answer}.")
            for left, right in re.findall(r"(\d+ [-+*] \d+) = (\d+)\.", item.solution):
                a, sign, b = left.split()
                assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[
                    sign
                ] == int(right)


@pytest.mark.parametrize(
    "name", ["digits", "addition", "subtraction", "multiplication", "fractions"]
)
def test_single_step_answers_are_right(name: str) -> None:
    for item in draw_items(name, 40, seed=0):
        a, sign, b = re.fullmatch(r"What is (\S+) (\S) (\S+)\?", item.question).groups()  # type: ignore[union-attr]
        first, second = Fraction(a), Fraction(b)
        values = {"+": first + second, "-": first - second, "*": first * second}
        assert Fraction(item.answer) == values[sign]


def test_more_items_than_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="different items, 500 were asked"):
        draw_items("multiplication", 500, seed=0)
    # There are 162 questions of single digits.
    with pytest.raises(UsageError, match="2 different items besides 160 others, 4 were asked"):
        ReasoningSuite(("digits",), items=160).check(tiny_subject())


def test_no_prompt_shows_what_is_tested() -> None:
    suite = ReasoningSuite(("digits",))
    items, prompts = suite._drawn("digits")
    tested = {item.question for item in items}
    for item, prompt in zip(items, prompts, strict=True):
        asked = re.findall(r"Question: (.*)", prompt)
        assert len(asked) == suite.shots + 1 and set(asked) & tested == {item.question}


def test_rows_carry_protocol_items_and_survive_json() -> None:
    suite = ReasoningSuite(("addition", "chain"), items=4, new_tokens=4, shots=1)
    rows = suite.run(tiny_subject())
    assert [row.name for row in rows] == ["addition", "chain", "all"]
    for row in rows:
        assert row.status == "ok"
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
        assert {"tokenizer", "dtype", "seed", "shots", "grader", "leniency"} <= row.protocol.keys()
        assert "seed 0" in row.describe()
    assert len(rows[2].items) == 8
    again = suite.run(tiny_subject(seed=1))
    assert compare_rows(rows[0], again[0]).items == 4


def test_a_model_that_answers_right_scores_one() -> None:
    # Stands for a good model: the generator's answer, forced through the model's own logits.
    subject = tiny_subject()
    suite = ReasoningSuite(("addition",), items=3, new_tokens=4, shots=0, batch=1)
    answers = iter([item.answer for item in draw_items("addition", 3, 0)])
    script: list[int] = []

    def force(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if not armed:
            return output
        if not script:
            script.extend(subject.tokenizer(f" {next(answers)}\n\n")["input_ids"])
        forced = torch.full_like(output, -10.0)
        forced[..., script.pop(0)] = 10.0
        return forced

    armed = False
    original = subject.model.generate

    def generate(*args: object, **kwargs: object) -> object:
        nonlocal armed
        armed = True
        script.clear()
        try:
            return original(*args, **kwargs)
        finally:
            armed = False

    subject.model.generate = generate
    subject.model.lm_head.register_forward_hook(force)
    (row,) = suite.run(subject)
    assert row.value == 1.0, row.details
    assert row.details["codes"] == {"text": 3}


def test_replies_do_not_depend_on_the_batch_nor_on_sampling_settings() -> None:
    subject = tiny_subject()
    prompts = ["a", "What is 2 + 2?", "x" * 40, "Ünïcode"]
    alone = greedy_replies(subject, prompts, new_tokens=6, batch=1)
    subject.model.generation_config.do_sample = True
    subject.model.generation_config.temperature = 9.0
    subject.model.generation_config.repetition_penalty = 9.0
    assert greedy_replies(subject, prompts, new_tokens=6, batch=4) == alone
    assert subject.model.generation_config.repetition_penalty == 9.0
    stop = next(reply for reply in alone if len(reply) > 2)[1]
    assert all(stop not in r for r in greedy_replies(subject, prompts, new_tokens=6, stop=[stop]))


def test_tokenizer_without_a_beginning_token() -> None:
    assert greedy_replies(tiny_subject(begin=False), ["", "a"], new_tokens=2)


def test_broken_model_is_a_result() -> None:
    rows = ReasoningSuite(("addition", "story"), items=2, new_tokens=2).run(broken_subject())
    assert {row.status for row in rows} == {"not_finite"}
    assert all(row.value is None and "NaN" in row.reason for row in rows)


def test_numbers_that_break_off_in_a_later_prompt_are_no_accuracy() -> None:
    subject = tiny_subject()
    suite = ReasoningSuite(("addition",), items=3, new_tokens=2, shots=0, batch=1)
    calls: list[int] = []

    def overflow(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return output * (float("nan") if len(calls) > 4 else 1)

    subject.model.lm_head.register_forward_hook(overflow)
    (row,) = suite.run(subject)
    assert (row.status, row.value, len(calls)) == ("not_finite", None, 5)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean addition"):
        build_suite("reasoning:generators=adition")
    with pytest.raises(UsageError, match="items 0"):
        build_suite("reasoning:items=0")
    with pytest.raises(UsageError, match="positions"):
        ReasoningSuite(("addition",), items=1).check(tiny_subject(positions=32))
