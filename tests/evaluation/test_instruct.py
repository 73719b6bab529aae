"""Training sets and dated windows out of threads: exact counts, and nothing is asked twice."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from autoprune.evaluation.instruct import (
    Item,
    Selection,
    read_threads,
    select,
    write_training_set,
    write_window,
)
from autoprune.evaluation.suites.dated import load_dated_items, newest_window
from autoprune.text.corpora import load_corpus
from tests.support.forum import BENCHMARK, PLANTED, Counting, write_forum
from tests.support.tiny_subject import tiny_subject


def selected(tmp_path: Path, model: Counting, **wanted: Any) -> Selection:
    tmp_path.mkdir(exist_ok=True)
    threads = read_threads(write_forum(tmp_path / "raw.jsonl"))
    wanted = {"until": date(2023, 12, 15), "references": [BENCHMARK]} | wanted
    return select(threads, model, answers=tmp_path / "answers.jsonl", **wanted)


def test_every_planted_thread_is_counted_under_its_reason(tmp_path: Path) -> None:
    found = selected(tmp_path, Counting())
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
    }
    total = sum(PLANTED.values()) - PLANTED["dateless"]
    assert sum(found.rejected.values()) + len(found.items) == total
    assert {item.votes for item in found.items} == {1, 2}
    for item in found.items:
        assert item.answer == rf"\frac{{{item.id}}}{{2}}" and item.date == date(2023, 6, 1)


@pytest.mark.parametrize("stop_at", [0, 57, 250])
def test_a_restart_asks_nothing_twice_and_ends_the_same(tmp_path: Path, stop_at: int) -> None:
    whole, stopped, rest = Counting(), Counting(stop_at), Counting()
    expected = selected(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        selected(tmp_path, stopped)
    assert selected(tmp_path, rest) == expected
    assert stopped.calls + rest.calls == whole.calls


def test_a_test_set_has_gradable_young_questions_that_live_reads(tmp_path: Path) -> None:
    found = selected(tmp_path, Counting(), purpose="test", since=date(2023, 6, 1))
    assert (found.rejected["proof"], found.rejected["figure"]) == (4, 4)
    assert found.rejected["contaminated"] == 8 + 7 + 4
    windows = tmp_path / "windows"
    write_window(windows, found.items[:3], date(2023, 1, 1), date(2023, 5, 31))
    new = write_window(windows, found.items, date(2023, 6, 1), date(2023, 12, 15))
    assert newest_window(windows) == new
    assert {(i.id, i.question, i.answer) for i in load_dated_items(new).items} == {
        (i.id, i.question, i.answer) for i in found.items
    }


def test_a_training_set_is_a_calibration_text(tmp_path: Path) -> None:
    items = [Item("1", date(2023, 1, 1), "What is 1 + 1?", r"\boxed{2}", "2", 1)]
    write_training_set(tmp_path / "set.jsonl", items)
    tokenizer = tiny_subject().tokenizer
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    found = load_corpus(str(tmp_path / "set.jsonl"), tokenizer=tokenizer)
    assert found.documents == (r"<user>What is 1 + 1?<assistant>\boxed{2}",)
