"""Training sets and dated windows out of threads: exact counts, and nothing is paid twice."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autoprune import prune
from autoprune.design.chat import ChatRequest, Reply
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import DamagedFileError, UsageError
from autoprune.evaluation.suites.dated import day_range, load_dated_items, newest_window
from autoprune.evaluation.suites.live import LiveSuite
from autoprune.instruct import (
    Answers,
    Selection,
    Wanted,
    one_by_one,
    questions,
    read_threads,
    select,
    write_training_set,
    write_window,
)
from autoprune.instruct.building import _same
from autoprune.instruct.rules import untestable_reason
from autoprune.text.hygiene import words
from flows.evaluate.flow import _notes
from tests.support.forum import BENCHMARK, PLANTED, Counting, write_forum
from tests.support.tiny_subject import tiny_subject

TRAIN = Wanted("train", until=date(2023, 12, 15))


def selected(
    tmp_path: Path, model: Counting, wanted: Wanted = TRAIN, references: Sequence[str] = ()
) -> tuple[Selection, Answers]:
    tmp_path.mkdir(exist_ok=True)
    threads, unusable = read_threads(write_forum(tmp_path / "raw.jsonl"))
    ask = one_by_one(ScriptedDesigner(model))
    with Answers(tmp_path / "answers.sqlite", "stand-in", ask) as answers:
        known = [BENCHMARK, *references]
        found = select(threads, wanted, answers, references=known, unusable=unusable)
        return found, answers


def test_no_item_holds_a_whole_reference_that_is_shorter_than_an_n_gram(tmp_path: Path) -> None:
    found, _ = selected(tmp_path / "all", Counting())
    held = " ".join(words(found.items[0].question)[:7])
    fewer, _ = selected(tmp_path / "fewer", Counting(), references=[held])
    left = {item.question for item in fewer.items}
    assert found.items[0].question not in left
    assert left == {i.question for i in found.items if held not in " ".join(words(i.question))}
    assert fewer.rejected["contaminated"] > found.rejected["contaminated"]


def test_every_planted_thread_is_counted_under_its_reason(tmp_path: Path) -> None:
    model = Counting()
    found, answers = selected(tmp_path, model)
    assert found.rejected == {
        "contaminated": PLANTED["ten"],
        "disagree": PLANTED["disagree"],
        "duplicate": PLANTED["copy"],
        "link": PLANTED["link"],
        "no_box": PLANTED["boxless"],
        "no_question": PLANTED["chatter"],
        "no_reply": PLANTED["lonely"],
        "no_solution": PLANTED["unsolved"],
        "tie": PLANTED["tie"],
        # A date known to the month may be its last day.
        "too_young": PLANTED["young"] + PLANTED["month"],
        "unusable_row": PLANTED["dateless"],
    }
    assert sum(found.rejected.values()) + len(found.items) == sum(PLANTED.values()) == 200
    # Eight or nine shared words do not keep a problem out of a training set, and are counted.
    fine = 24 + 4 * 4
    assert len(found.items) == fine + 10 + 7 and found.near == 7 + 4
    assert {item.votes for item in found.items} == {1, 2}
    for item in found.items:
        assert item.answer == rf"\frac{{{item.id}}}{{2}}" and item.date == date(2023, 6, 1)
    # Questions: all that reach a stage, two rewrites of each reply that was chosen.
    classified = fine + 10 + 15 + 10 + 15 + 10 + 5 + 7
    extracted = fine + 10 + 10 + 15 + 10 + 5 + 7
    rewritten = 2 * (fine + 3 * 10 + 15 + 10 + 2 * 5 + 7)
    assert model.calls == answers.asked == classified + extracted + rewritten
    assert answers.known == 0


@pytest.mark.parametrize("stop_at", [0, 57, 130, 250])
def test_a_restart_pays_nothing_twice_and_ends_the_same(tmp_path: Path, stop_at: int) -> None:
    whole = Counting()
    apart = tmp_path / "whole"
    apart.mkdir()
    expected, _ = selected(apart, whole)
    stopped = Counting(stop_at)
    with pytest.raises(KeyboardInterrupt):
        selected(tmp_path, stopped)
    rest = Counting()
    found, answers = selected(tmp_path, rest)
    assert (stopped.calls, answers.known) == (stop_at, stop_at)
    assert stopped.calls + rest.calls == whole.calls
    assert found == expected
    again = Counting(0)
    assert selected(tmp_path, again)[0] == expected and again.calls == 0


def test_answers_of_another_model_are_not_taken_and_damage_is_named(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    threads, _ = read_threads(write_forum(tmp_path / "raw.jsonl"))
    for who, model in (("one", first), ("two", second)):
        file = tmp_path / "answers.sqlite"
        with Answers(file, who, one_by_one(ScriptedDesigner(model))) as answers:
            select(threads[:20], TRAIN, answers)
    assert first.calls == second.calls > 0
    file.write_bytes(b"no database at all, and long enough to be taken for one" * 50)
    with pytest.raises(DamagedFileError, match="move it away"):
        Answers(file, "one", one_by_one(ScriptedDesigner(first)))


def test_a_test_set_takes_young_threads_alone_and_eight_words_are_enough(tmp_path: Path) -> None:
    young, _ = selected(tmp_path, Counting(), Wanted("test", since=date(2024, 1, 1)))
    assert len(young.items) == PLANTED["young"]
    assert young.rejected["too_old"] == 200 - PLANTED["young"] - PLANTED["dateless"]
    # The first day counts here: what may be of November is no item of a window from December on.
    every, _ = selected(tmp_path, Counting(), Wanted("test", since=date(2023, 6, 1)))
    assert every.rejected["contaminated"] == 8 + 7 + 4 and every.near == 0
    assert (every.rejected["proof"], every.rejected["figure"]) == (4, 4)


def test_signs_tell_problems_apart_and_punctuation_does_not(tmp_path: Path) -> None:
    posts = (
        "How many is 12 + 30?", "How many is 12 - 30?", "How many is 12 * 30?",
        "How many is\n12 + 30",
    )  # fmt: skip
    raw = tmp_path / "raw.jsonl"
    rows = [{"id": p, "date": "2023-05-01", "posts": [p, "It is so."]} for p in posts]
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked: list[str] = []
    ask = one_by_one(ScriptedDesigner(lambda r: asked.append(r.messages[-1].content) or ""))
    with Answers(tmp_path / "answers.sqlite", "stand-in", ask) as answers:
        found = select(read_threads(raw)[0], TRAIN, answers)
    assert found.rejected["duplicate"] == 1 and len(asked) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Solve x - y = 2.", "solve x-y=2"), ("Find x \u2212 3", "Find x - 3"),
        ("Let \\(x\\) be even", "let $x$ be even!"), ("**Find** well-known x", "find well known x"),
        ("[good 3] Find half of 3.", "  (GOOD 3): find HALF of 3!"), ("x^{2}", "x^2"),
    ],
)  # fmt: skip
def test_copies_are_known_by_their_words_and_signs(one: str, other: str) -> None:
    assert _same(one) == _same(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x + 3", "x - 3"), ("x-y", "x y"), ("(2+3)*4", "2+(3*4)"), ("5! + 1", "5 + 1"),
        ("x^{n+1}", "x^n+1"), ("f'(x+1)", "f(x+1)"), ("|x-1|", "x-1"), ("a < b", "a > b"),
        ("1.5", "15"), ("\\alpha x", "alpha x"),
    ],
)  # fmt: skip
def test_problems_with_other_signs_are_no_copies(one: str, other: str) -> None:
    assert _same(one) != _same(other)


def test_an_answer_cut_off_at_its_limit_is_none(tmp_path: Path) -> None:
    whole = Counting()
    threads, _ = read_threads(write_forum(tmp_path / "raw.jsonl"))

    class Cut(ScriptedDesigner):
        def complete(self, request: ChatRequest) -> Reply:
            reply = super().complete(request)
            cut = "Rewrite the problem" in request.messages[-1].content
            return replace(reply, finish_reason="length") if cut else reply

    with Answers(tmp_path / "answers.sqlite", "stand-in", one_by_one(Cut(whole))) as answers:
        found = select(threads, TRAIN, answers)
    assert found.items == () and found.rejected["cut_off"] > 50


def test_a_row_with_a_year_and_an_empty_month_is_of_that_year(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text(json.dumps({"year": 2023, "month": None, "posts": ["What is 2 + 2?", "4"]}))
    ((thread,), unusable) = read_threads(raw)
    assert (thread.first_day, thread.last_day) == (date(2023, 1, 1), date(2023, 12, 31))
    assert unusable == 0


def chosen(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    wanted: Wanted,
    answer: Callable[[ChatRequest], str],
) -> Selection:
    """What is selected of a file with these rows."""
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = one_by_one(ScriptedDesigner(answer))
    with Answers(tmp_path / "answers.sqlite", "stand-in", ask) as answers:
        return select(read_threads(raw)[0], wanted, answers)


def test_a_post_that_may_be_older_is_known_and_half_a_character_stops_nothing(
    tmp_path: Path,
) -> None:
    rows = [
        {"id": "a", "date": "2023", "posts": ["How many is 12 plus 30? \ud83d", "It is 42."]},
        {"id": "b", "date": "2023-06-10", "posts": ["How many is 12 plus 30? \ud83d", "42."]},
    ]
    wanted = Wanted("test", since=date(2023, 5, 1), until=date(2023, 8, 1))
    found = chosen(tmp_path, rows, wanted, lambda _: "")
    assert (found.rejected["too_young"], found.rejected["duplicate"]) == (1, 1)


def test_a_copy_is_known_by_posts_that_were_left_out_but_not_by_unanswered_ones(
    tmp_path: Path,
) -> None:
    rows = [
        {"id": "old", "date": "2020-05-01", "posts": ["How many is 12 plus 30?", "It is 42."]},
        {"id": "again", "date": "2024-05-01", "posts": ["How many is 12 plus 30?", "It is 42."]},
        {"id": "silent", "date": "2024-05-02", "posts": ["How many is 11 plus 30?"]},
        {"id": "answered", "date": "2024-05-03", "posts": ["How many is 11 plus 30?", "It is 41."]},
    ]
    asked: list[str] = []

    def answer(request: ChatRequest) -> str:
        asked.append(request.messages[-1].content)
        return ""

    found = chosen(tmp_path, rows, Wanted("test", since=date(2024, 1, 1)), answer)
    assert (found.rejected["too_old"], found.rejected["duplicate"]) == (1, 1)
    assert found.rejected["no_reply"] == 1
    assert asked and all("11 plus 30" in question for question in asked)


def test_live_takes_the_window_that_ends_last_and_says_its_age(tmp_path: Path) -> None:
    young, _ = selected(tmp_path, Counting(), Wanted("test", since=date(2024, 1, 1)))
    windows = tmp_path / "windows"
    old = write_window(windows, young.items[:3], date(2023, 1, 1), date(2023, 12, 31))
    new = write_window(windows, young.items, date(2023, 6, 1), date(2024, 2, 3))
    (windows / "notes.jsonl").write_text("{}")
    assert newest_window(windows) == new and newest_window(old) == old
    items = load_dated_items(new).items
    assert [(i.id, i.date, i.question, i.answer) for i in items] == sorted(
        ((i.id, i.date, i.question, i.answer) for i in young.items), key=lambda found: found[0]
    )
    row = LiveSuite(str(windows), cutoff="2023", new_tokens=1, limit=2).run(tiny_subject())[0]
    age = datetime.now(UTC).date() - date(2024, 2, 3)
    assert timedelta(days=row.details["age_days"]) in (age, age + timedelta(days=1))
    assert (row.details["window"], row.details["newest_item"]) == (new.name, "2024-02-03")
    note = f"live: {new.name}, whose newest item is of 2024-02-03, {row.details['age_days']} days"
    assert any(line.startswith(note) for line in _notes([row.to_json()], "tiny"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="instruct bench"):
        newest_window(empty)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_training_set_calibrates_by_its_conversations(tmp_path: Path, kind: str) -> None:
    from autoprune.text.corpora import load_corpus

    found, _ = selected(tmp_path, Counting())
    file = write_training_set(tmp_path / "set", found.items, {"kept": 57}, kind)  # type: ignore[arg-type]
    assert json.loads((tmp_path / "set" / "record.json").read_text()) == {"kept": 57}
    subject = tiny_subject()
    tokenizer = subject.tokenizer
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    # Without a column that is called text, the conversations are the text.
    documents = load_corpus(str(file), tokenizer=tokenizer).documents
    item = found.items[0]
    assert documents[0] == f"<user>{item.question}<assistant>{item.solution}"
    assert load_corpus(f"{file}#answer").documents == tuple(i.answer for i in found.items)
    with pytest.raises(UsageError, match="no chat template"):
        load_corpus(str(file))
    made = prune(subject, "wanda", 0.5, corpus=str(file), calibration_windows=2, seqlen=32)
    assert made.sparsity == pytest.approx(0.5, abs=1e-3)


def test_answers_are_read_and_texts_are_judged_strictly() -> None:
    assert [questions.read_flag(t) for t in ("1", "Answer: 0.", "10", "2.1", "yes")] == [
        True, False, None, None, None,
    ]  # fmt: skip
    # Thoughts hold drafts; a template may have opened them in the prompt, or they are cut off.
    for thought in ("<think>so 1</think>\n0", "the post asks for 1 </think>\n0"):
        assert questions.read_flag(thought) is False
    assert questions.read_flag("<think>it may be 1") is None
    assert questions.read_chosen("ANSWERS: 2 perhaps </think>ANSWERS: 1", 3) == [0]
    assert questions.read_chosen("ANSWERS: 3, 1 and 3, 7", 3) == [2, 0]
    assert questions.read_chosen("answer: none", 3) == []
    assert questions.read_chosen("the second one", 3) is None
    for text in (
        "ANSWERS: Reply 1, Reply 3",
        "ANSWERS: [1, 3]",
        "**ANSWERS:** 1, 3",
        "ANSWERS: **1** and **3** (none of the others)",
        "ANSWERS:\n1, 3",
        "Answer: the first.\nANSWERS: #1, #3",
        "Its final answer: 2.\nANSWERS: 1, 3",
        "Reply 1 answers: 42 is right.\nANSWERS: 1, 3",
    ):
        assert questions.read_chosen(text, 3) == [0, 2], text
    assert questions.read_chosen("ANSWERS: There are none", 3) == []
    assert questions.read_chosen("ANSWERS: unclear", 3) is None
    for text in (
        "**Question:** What?\n\n**Solution:** So \\boxed{4}.",
        "**Question**: What?\n**Solution**: So \\boxed{4}.",
        "### Question\nWhat?\n\n### Solution\nSo \\boxed{4}.",
        "Here is the rewritten question:\n\nQuestion: What?\nSolution: So \\boxed{4}.",
    ):
        split = questions.read_rewritten(text)
        assert split == questions.Rewritten("What?", "So \\boxed{4}.", "4"), text
    assert untestable_reason("1.5 liters fill what share of 2 liters?") is None
    texts = ("Prove that 1 < 2.", "In the figure, find x.", "(a) Find x.", "x? y? z?", "Find x.")
    assert [untestable_reason(text) for text in texts] == [
        "proof", "figure", "several_questions", "several_questions", None,
    ]  # fmt: skip
    days = [day_range(value) for value in ("2024-02", 2023, "2024-02-05T10:00", 1704067200)]
    assert days == [
        (date(2024, 2, 1), date(2024, 2, 29)), (date(2023, 1, 1), date(2023, 12, 31)),
        (date(2024, 2, 5), date(2024, 2, 5)), (date(2024, 1, 1), date(2024, 1, 1)),
    ]  # fmt: skip
