"""Suite ``steps`` measures verifiers, and best of n takes the reply that a verifier trusts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoprune.errors import UnknownNameError, UsageError
from autoprune.evaluation import generation
from autoprune.evaluation.best_of import best_replies, reply_steps
from autoprune.evaluation.generation import sampled_replies
from autoprune.evaluation.suites import build_suite, check_suite
from autoprune.evaluation.suites import reasoning as reasoning_module
from autoprune.evaluation.suites.comparison import compare_rows
from autoprune.evaluation.suites.generators import draw_items
from autoprune.evaluation.suites.reasoning import GAIN, RANDOM_PICK, ReasoningSuite
from autoprune.evaluation.suites.rows import Row
from autoprune.evaluation.suites.steps import StepsSuite
from autoprune.progress import silent
from autoprune.verify import Training, train_verifier
from autoprune.verify.programmatic import Programmatic
from tests.support.tiny_models import tiny_model
from tests.support.tiny_subject import broken_subject, tiny_subject

SMALL = {"chains": 30, "train": 25, "epochs": 1}


def test_every_verifier_is_a_row_that_pairs_solution_by_solution() -> None:
    first, second = (StepsSuite(**SMALL).run(tiny_subject(seed=seed)) for seed in (0, 1))  # type: ignore[arg-type]
    assert [row.name for row in first] == ["programmatic", "surprisal", "uhead"]
    assert first[0].value == 1.0 and first[2].details["parameters"] < 10_000_000
    for row in first:
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
        assert row.value == pytest.approx(sum(row.items) / len(row.items))
        assert row.details["wrong"] == round(0.35 * row.details["steps"])
        assert len(row.items) == SMALL["chains"]
        # The checker is never wrong, and resamples of no error say nothing.
        assert (row.interval is None) == (row.name == "programmatic")
        low, high = row.interval or (row.value, row.value)
        assert low <= row.value <= high
        assert set(row.details["families"]) == {"game", "kitchen", "library"}
    found = compare_rows(first[1], second[1])
    assert found.items == len(first[1].items)
    # Another seed is another protocol.
    with pytest.raises(UsageError, match="seed"):
        compare_rows(first[1], StepsSuite(("surprisal",), chains=30, seed=1).run(tiny_subject())[0])


def test_a_head_of_another_reader_is_refused_before_and_a_row_with_the_reason_after(
    tmp_path: Path,
) -> None:
    folder, reader = tmp_path / "head", tiny_subject()
    made = train_verifier(reader, Training(25, 1))
    made.save(folder)
    suite = build_suite(f"steps:verifiers=surprisal+{folder},chains=20")
    check_suite(suite, reader)
    rows = suite.run(reader, report=silent)
    assert [row.name for row in rows] == ["surprisal", "head"]
    assert rows[1].protocol["verifier_digest"] == made.describe()["verifier_digest"]
    with pytest.raises(UsageError, match="trained for the reader tiny-0"):
        check_suite(suite, tiny_subject(seed=1))
    other = suite.run(tiny_subject(seed=1), report=silent)
    assert other[0].status == "ok"
    assert other[1].status == "unavailable" and "trained for the reader" in other[1].reason


def test_a_broken_reader_is_a_result_and_wrong_settings_are_refused() -> None:
    rows = StepsSuite(("surprisal", "programmatic"), chains=5).run(broken_subject())
    assert [row.status for row in rows] == ["not_finite", "ok"]
    with pytest.raises(UnknownNameError, match="did you mean surprisal"):
        build_suite("steps:verifiers=suprisal")
    for text, message in (
        ("steps:verifiers=surprisal+surprisal", "have one name"),
        ("steps:corrupted=1", "corrupted above 0"),
        ("steps:train=2", "2 chains"),
        ("reasoning:best_of=8", "at least 2 with one"),
        ("reasoning:verifier=programmatic", "at least 2 with one"),
        ("reasoning:best_of=8,verifier=programmatic,temperature=0", "temperature above 0"),
    ):
        with pytest.raises(UsageError, match=message):
            build_suite(text)
    for share, count in ((0.01, 0), (0.999, 11)):
        one_sided = build_suite(f"steps:verifiers=surprisal,chains=3,corrupted={share}")
        with pytest.raises(UsageError, match=rf"a share of {share} is {count} wrong ones"):
            check_suite(one_sided, tiny_subject())
    with pytest.raises(UsageError, match="trained first"):
        check_suite(build_suite("reasoning:best_of=2,verifier=uhead"), tiny_subject())


def test_replies_fall_into_steps_and_the_most_trusted_is_taken() -> None:
    reply = " 12 + 5 = 17. 17 - 3.5 = 13.5.\nAnswer: 14\n"
    assert reply_steps(reply) == ("12 + 5 = 17.", "17 - 3.5 = 13.5.", "Answer: 14")
    assert reply_steps(" \n ") == ()
    replies = [["2 + 3 = 6. Answer: 6", "", "2 + 3 = 5. Answer: 5"], ["", "Answer: 1"], [""]]
    questions = ["What is 2 + 3?", "What?", "What?"]
    assert best_replies(Programmatic(), questions, replies, "lowest") == [2, 1, 0]
    assert best_replies(Programmatic(), questions, replies, "product") == [2, 1, 0]


def test_drawn_replies_are_seeded_and_differ() -> None:
    subject = tiny_subject()
    settings = {"samples": 4, "new_tokens": 6, "temperature": 1.0}
    drawn = sampled_replies(subject, ["a", "b"], seed=0, **settings)  # type: ignore[arg-type]
    assert [len(some) for some in drawn] == [4, 4] and len(set(drawn[0])) > 1
    assert sampled_replies(subject, ["a", "b"], seed=0, **settings) == drawn  # type: ignore[arg-type]
    assert sampled_replies(subject, ["a", "b"], seed=5, **settings) != drawn  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "mamba"])
def test_a_prompt_is_read_once_for_all_of_its_replies(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = replace(tiny_subject(), model=tiny_model(family))
    known = subject.model.config.vocab_size
    monkeypatch.setattr(
        generation, "_token_ids", lambda _, text: [mark % known for mark in text.encode()]
    )
    read: list[torch.Size] = []

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:
        read.append((args[0] if args else kwargs["input_ids"]).shape)

    subject.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    settings = {"samples": 3, "new_tokens": 8, "temperature": 1.0, "seed": 0}
    drawn = sampled_replies(subject, ["What is 2 + 3?"], **settings)  # type: ignore[arg-type]
    # A Mamba keeps no cache that could be repeated.
    first = [(1, 13), (3, 14)] if family == "mamba" else [(1, 13), (3, 1)]
    assert read[:2] == first
    monkeypatch.setattr(generation, "_read_once", lambda *_: {})
    assert sampled_replies(subject, ["What is 2 + 3?"], **settings) == drawn  # type: ignore[arg-type]


def test_best_of_n_stands_beside_a_random_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = draw_items("chain", 6, 0)

    def drawn(_: object, prompts: Sequence[str], **settings: object) -> list[list[str]]:
        assert settings["samples"] == 4 and settings["temperature"] == 0.8
        found = []
        for item in asked:
            wrong = f"{item.solution} Answer: {int(item.answer) + 1}"
            found.append([wrong, wrong, f"{item.solution}\nAnswer: {item.answer}", "no idea"])
        return found

    monkeypatch.setattr(reasoning_module, "sampled_replies", drawn)
    suite = ReasoningSuite(("chain",), items=6, best_of=4, verifier="programmatic")
    best, usual, gain = suite.run(tiny_subject())
    assert (best.metric, usual.metric, gain.metric) == ("accuracy", RANDOM_PICK, GAIN)
    assert (best.value, usual.value, gain.value) == (1.0, 0.25, 0.75)
    assert best.protocol["best_of"] == 4 and best.protocol["verifier"] == "programmatic"
    assert gain.items == (0.75,) * 6
    # Greedy replies are as before: one row, and nothing of verifiers in its protocol.
    (greedy,) = ReasoningSuite(("chain",), items=2, new_tokens=2).run(tiny_subject())
    assert greedy.metric == "accuracy" and "best_of" not in greedy.protocol


def test_best_of_n_over_several_generators_really_drawn() -> None:
    suite = ReasoningSuite(
        ("addition", "chain"), items=2, new_tokens=3, shots=1, best_of=2, verifier="surprisal"
    )
    rows = suite.run(tiny_subject())
    names = [(row.name, row.metric) for row in rows]
    each = ["accuracy", RANDOM_PICK, GAIN]
    assert names == [(name, m) for name in ("addition", "chain", "all") for m in each]
    assert all(row.status == "ok" for row in rows) and len(rows[-1].items) == 4
    assert {row.status for row in suite.run(broken_subject())} == {"not_finite"}
