"""A headline rests on items after the declared cutoff only, and not on copied ones."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.errors import UsageError
from autoprune.evaluation.grading.grader import Grade
from autoprune.evaluation.suites import build_suite, live
from autoprune.evaluation.suites.dated import (
    DatedItem,
    day_range,
    first_day,
    last_day,
    load_dated_items,
)
from autoprune.evaluation.suites.live import LiveSuite
from autoprune.evaluation.suites.rows import Row, RowContext
from tests.support.tiny_subject import broken_subject, tiny_subject
from tests.support.tiny_texts import with_beginning


def write_items(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def items(tmp_path: Path) -> str:
    return write_items(
        tmp_path / "items.jsonl",
        [
            {
                "id": f"q{month}",
                "question": f"What is {month} plus {month}?",
                "answer": str(2 * month),
                "post_time": {"year": 2024, "month": month},
            }
            for month in range(1, 13)
        ],
    )


def test_headline_items_are_after_the_cutoff(items: str) -> None:
    suite = LiveSuite(items, cutoff="2024-08", new_tokens=3)
    newer, older, slope = suite.run(tiny_subject())
    assert (newer.name, newer.details["headline"], len(newer.items)) == ("after cutoff", True, 4)
    # An item known to the month may be as old as its first day.
    assert date.fromisoformat(newer.details["first"]) > date(2024, 8, 31)
    assert (older.details["headline"], len(older.items)) == (False, 8)
    assert slope.metric == "accuracy_per_year"
    assert len(slope.details["months"]) == 12
    assert newer.protocol["cutoff"] == "2024-08-31"
    for row in (newer, older, slope):
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_model_without_declared_cutoff_is_refused(items: str) -> None:
    subject = tiny_subject()
    with pytest.raises(UsageError, match="no declared training cutoff"):
        LiveSuite(items).run(subject)
    subject.model.config.knowledge_cutoff = "2023"
    newer = LiveSuite(items, new_tokens=2, limit=3).run(subject)[0]
    assert (newer.protocol["cutoff"], len(newer.items)) == ("2023-12-31", 3)


def test_no_items_after_the_cutoff_is_no_headline(items: str) -> None:
    newer, older, _ = LiveSuite(items, cutoff="2025", new_tokens=2).run(tiny_subject())
    assert (newer.status, newer.value) == ("unavailable", None)
    assert len(older.items) == 12


def test_slope_and_parts_follow_the_grades() -> None:
    items = [DatedItem(str(y), date(y, 1, 1), "q", "a") for y in range(2015, 2025)]
    grades = [Grade(item.date.year < 2020, "text") for item in items]
    suite = LiveSuite("unused", cutoff="2019")
    newer, older, slope = suite._rows(
        items, grades, date(2019, 12, 31), RowContext("live", {}, {}), {}
    )
    assert (newer.value, older.value) == (0.0, 1.0)
    assert slope.value is not None and slope.value < -0.1
    assert slope.interval is not None and slope.interval[1] < 0


def test_copied_items_are_dropped(tmp_path: Path) -> None:
    copied = "one two three four five six seven eight nine ten"
    rows = [
        {"question": copied, "answer": "1", "date": "2024-05-01"},
        {"question": "a quite different question", "answer": "1", "date": "2024-06-01"},
    ]
    path = write_items(tmp_path / "items.jsonl", rows)
    (tmp_path / "train.txt").write_text(f"before {copied} after")
    suite = LiveSuite(
        path, cutoff="2024-01", references=(str(tmp_path / "train.txt"),), new_tokens=2
    )
    newer = suite.run(tiny_subject())[0]
    assert (len(newer.items), newer.details["contaminated"]) == (1, 1)


def test_published_formats_are_read(tmp_path: Path) -> None:
    rows = [
        {"topic_id": 7, "rewritten_question": "A?", "boxed_answer": "1",
         "post_time": {"year": 2024, "month": 3}},
        {"problem": "B?", "solution": r"so \boxed{\frac{1}{2}}", "year": 2023, "month": 11},
        {"question": "C?", "answer": r"therefore \boxed{3}", "timestamp": 1_700_000_000},
        {"question": "D?", "answer": 4, "contest_date": "2024-01-15T00:00:00"},
        {"question": "E?", "answer": "", "date": "2024-01-01"},
        {"question": "no date", "answer": "1"},
    ]  # fmt: skip
    read = load_dated_items(Path(write_items(tmp_path / "items.jsonl", rows)))
    assert [(item.question, item.answer, item.date.isoformat()) for item in read.items] == [
        ("B?", r"\frac{1}{2}", "2023-11-01"),
        ("C?", "3", "2023-11-14"),
        ("D?", "4", "2024-01-15"),
        ("A?", "1", "2024-03-01"),
    ]
    assert read.skipped == 2
    assert read.items[3].id == "7"
    table = pyarrow.table({"question": ["A?"], "answer": ["1"], "date": [date(2024, 2, 3)]})
    pyarrow.parquet.write_table(table, tmp_path / "items.parquet")
    (item,) = load_dated_items(tmp_path / "items.parquet").items
    assert item.date == date(2024, 2, 3)


def answer_of(tmp_path: Path, row: dict[str, object]) -> str:
    known: dict[str, object] = {"question": "known", "answer": "0", "date": "2024-01-01"}
    path = write_items(tmp_path / "one.jsonl", [known, {**known, "question": "Q?", **row}])
    read = load_dated_items(Path(path))
    found = [item.answer for item in read.items if item.question == "Q?"]
    return found[0] if found else f"{read.skipped} skipped, {read.ties} tied"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # As the released exporter writes it: `answer` is cut at the first closing brace.
        ({"rewritten_a": r"so \boxed{\frac{3}{2}}.", "answer": r"\frac{3"}, r"\frac{3}{2}"),
        ({"solution": r"thus \boxed{7}", "answer": "8"}, "7"),
        ({"solution": "no box here", "answer": "8"}, "8"),
        ({"solution": "no box here", "answer": r"\frac{3"}, "1 skipped, 0 tied"),
        # As its file of annotations does.
        ({"answer": "", "rewritten_answers": [r"\boxed{1}", r"\boxed{2}", r"\boxed{ 2 }"]}, "2"),
        ({"answer": "", "boxed_answers": ["1", "1", "2"]}, "1"),
        ({"answer": "", "boxed_answers": [r"\frac{3", r"\frac{3}{2}"]}, r"\frac{3}{2}"),
        ({"rewritten_answers": [r"\boxed{1}"], "boxed_answers": ["5", "5"]}, "1"),
        ({"rewritten_answers": [r"\boxed{1}", r"\boxed{2}"]}, "0 skipped, 1 tied"),
        ({"boxed_answers": ["1", "2", "2", "1", "3"]}, "0 skipped, 1 tied"),
        ({"rewritten_answers": ["proof", r"\boxed{4}"]}, "4"),
        ({"rewritten_answers": [], "answer": 5}, "5"),
        # However it is written, the same answer is the same vote.
        ({"boxed_answers": [r"\frac12", "3", "1/2", "3", "0.5"]}, r"\frac12"),
        ({"boxed_answers": ["1/2", "3", "3", "0.5"]}, "0 skipped, 1 tied"),
    ],
)
def test_the_solutions_box_comes_before_the_bare_answer(
    tmp_path: Path, row: dict[str, object], expected: str
) -> None:
    assert answer_of(tmp_path, row) == expected


def test_tied_rows_are_counted_in_the_record(tmp_path: Path) -> None:
    rows = [
        {"question": "A?", "answer": "1", "date": "2024-05-01"},
        {"question": "B?", "boxed_answers": ["1", "2"], "date": "2024-05-01"},
        {"question": "C?", "date": "2024-05-01"},
    ]
    path = write_items(tmp_path / "items.jsonl", rows)
    newer = LiveSuite(path, cutoff="2024-01", new_tokens=2).run(tiny_subject())[0]
    counts = (len(newer.items), newer.details["unusable_rows"], newer.details["tied_rows"])
    assert counts == (1, 1, 1)


def test_a_chat_prompt_begins_once(items: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = tiny_subject()
    with_beginning(subject.tokenizer)
    subject.tokenizer.chat_template = "<s>{% for m in messages %}[{{ m.content }}]{% endfor %}"
    seen: list[list[int]] = []
    generate = subject.model.generate

    def watched(input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: Any) -> Any:
        for row, mask in zip(input_ids, attention_mask, strict=True):
            seen.append(row[mask.bool()].tolist())
        return generate(input_ids=input_ids, attention_mask=attention_mask, **rest)

    monkeypatch.setattr(subject.model, "generate", watched)
    for chat in (True, False):
        LiveSuite(items, cutoff="2024-08", new_tokens=2, chat=chat).run(subject)
    assert len(seen) == 24
    assert all(row[0] == 0 and 0 not in row[1:] for row in seen)


@given(st.dates(date(1971, 1, 1), date(2100, 1, 1)))
def test_dates_read_in_every_form(day: date) -> None:
    assert first_day(day.isoformat()) == last_day(day.isoformat()) == day
    assert first_day(day.strftime("%Y-%m")) == day.replace(day=1)
    assert first_day(day.year) == first_day(str(day.year)) == date(day.year, 1, 1)
    assert first_day(f"{day.isoformat()}T23:59:00Z") == day
    assert last_day(str(day.year)) == date(day.year, 12, 31)
    assert first_day(day.strftime("%Y-%m")) <= day <= last_day(day.strftime("%Y-%m"))
    assert DatedItem("", day, "", "").year == pytest.approx(day.year + 0.5, abs=0.5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1710000000", "2024-03-09"),
        (1_710_000_000_000, "2024-03-09"),
        (1_710_000_000.5, "2024-03-09"),
        (20240301, "2024-03-01"),
        ("20240301", "2024-03-01"),
        ("2024-3-5 10:00", "2024-03-05"),
        ("2024.03.05", None),
        ("2024-03-051", None),
        ("202403", None),
        (171_000_000, None),
        (1234, None),
        (float("nan"), None),
        (True, None),
        (None, None),
    ],
)
def test_digits_are_the_date_that_they_show_or_none(value: Any, expected: str | None) -> None:
    found = first_day(value)
    assert (found and found.isoformat()) == expected
    assert day_range(value) == (found and (found, found))


def test_a_year_that_is_a_number_with_a_fraction_is_a_year() -> None:
    assert day_range(2024.0) == day_range({"year": 2024.0}) == day_range("2024")


def test_a_question_may_hold_any_separator_of_lines(tmp_path: Path) -> None:
    question = "Find\u2028x\u2029or\u0085y."
    row = {"question": question, "answer": "1", "date": "2024-05-01"}
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [item.question for item in load_dated_items(path).items] == [question]


def test_bad_files_and_settings_are_refused(tmp_path: Path, items: str) -> None:
    with pytest.raises(UsageError, match="needs a file"):
        build_suite("live")
    with pytest.raises(UsageError, match="is not a date"):
        LiveSuite(items, cutoff="soon")
    with pytest.raises(UsageError, match="is not a date"):
        LiveSuite(items, cutoff="2024-13")
    with pytest.raises(UsageError, match="does not exist"):
        LiveSuite(str(tmp_path / "none.jsonl"), cutoff="2024").run(tiny_subject())
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(UsageError, match="not readable JSON"):
        load_dated_items(tmp_path / "bad.jsonl")
    (tmp_path / "bad.parquet").write_text("{")
    with pytest.raises(UsageError, match="not a Parquet file"):
        load_dated_items(tmp_path / "bad.parquet")
    with pytest.raises(UsageError, match="its columns are colour"):
        load_dated_items(Path(write_items(tmp_path / "odd.jsonl", [{"colour": 1}])))
    with pytest.raises(UsageError, match="no chat template"):
        LiveSuite(items, cutoff="2024", chat=True).run(tiny_subject())


def test_broken_model_is_a_result(items: str) -> None:
    rows = LiveSuite(items, cutoff="2024-06", new_tokens=2).run(broken_subject())
    assert [row.status for row in rows] == ["not_finite"] * 3
    whole = LiveSuite(items, cutoff="2024-06", new_tokens=2).run(tiny_subject())
    assert [(row.name, row.metric) for row in rows] == [(row.name, row.metric) for row in whole]


def test_what_a_model_makes_up_after_its_answer_is_not_graded(
    items: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = r" It is \boxed{2}."
    made_up = "\n\nProblem: What is 5 plus 6?\n\nSolution: \\boxed{11}"

    def drawn(_: object, prompts: list[str], *, stop: Sequence[str], **__: object) -> list[str]:
        # As generation does: a reply ends before the first of these texts.
        ends = [(own + made_up).find(text) for text in stop]
        return [(own + made_up)[: min(ends, default=None)]] * len(prompts)

    monkeypatch.setattr(live, "greedy_replies", drawn)
    newer, older, _ = LiveSuite(items, cutoff="2024-06").run(tiny_subject())
    # 1 plus 1 is among the earlier half.
    assert (newer.value, older.value) == (0.0, pytest.approx(1 / 6))
