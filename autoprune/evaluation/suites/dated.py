"""Dated questions: reading published files, and dates that are only known to the month."""

import calendar
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from autoprune.errors import UsageError
from autoprune.evaluation.grading.extraction import boxed_answer
from autoprune.evaluation.grading.grader import Grader

# Column names of LiveAoPSBench, its tools, AIME and MATH collections, and live leaderboards.
_QUESTION = (
    "question",
    "rewritten_question",
    "rewritten_q",
    "problem",
    "question_content",
    "prompt",
)
_SOLUTION = (
    "rewritten_answers", "solutions", "solution", "rewritten_answer", "rewritten_a", "response",
)  # fmt: skip
_BOXES = ("boxed_answers", "boxed_answer")
_ANSWER = ("answer", "final_answer", "expected_answer")
DATE_COLUMNS = ("date", "post_time", "timestamp", "contest_date", "created", "release_date", "time")
_ID = ("id", "topic_id", "question_id", "problem_id", "idx")
_PARTIAL = re.compile(r"(19\d\d|2\d{3})(?:[-/](\d{1,2})(?:[-/](\d{1,2}))?)?")
_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)")
# Seconds since 1970 from 2001 to 2286, or milliseconds.
_EPOCH = re.compile(r"(\d{10})(?:\d{3})?")
_WINDOW = re.compile(r"(\d{4}-\d\d-\d\d)--(\d{4}-\d\d-\d\d)\.(?:jsonl|parquet)")


@dataclass(frozen=True)
class DatedItem:
    """One question and when it became public.

    Args:
        id: Its name in the file.
        date: The first day on which it may have been public.
        question: What is asked.
        answer: The right answer.
    """

    id: str
    date: date
    question: str
    answer: str

    @property
    def year(self) -> float:
        """The date as a number of years, for a slope."""
        first = date(self.date.year, 1, 1)
        days = 366 if calendar.isleap(self.date.year) else 365
        return self.date.year + (self.date - first).days / days


@dataclass(frozen=True)
class DatedFile:
    """Items in order of date, and counts of the unusable rows.

    Args:
        items: The usable ones.
        skipped: Rows that had no question, readable answer or date.
        ties: Rows whose solutions disagree on the answer, none of them in the majority.
    """

    items: tuple[DatedItem, ...]
    skipped: int
    ties: int = 0


def newest_window(place: Path) -> Path:
    """The file itself or, in a folder of windows ``FIRST--LAST.jsonl``, the one that ends last.

    Of two that end on the same day, it is the one that begins last.
    """
    if not place.is_dir():
        return place
    windows = [
        (found[2], found[1], path)
        for path in place.iterdir()
        if (found := _WINDOW.fullmatch(path.name)) and path.is_file()
    ]
    if not windows:
        raise UsageError(
            f"the folder {place} holds no window of dated questions, such as "
            "2024-01-01--2024-08-31.jsonl; name a file"
        )
    return max(windows)[2]


class _TieError(Exception):
    """Solutions of one row disagree."""


def load_dated_items(path: Path) -> DatedFile:
    r"""Read dated questions from a ``.jsonl`` or ``.parquet`` file.

    Columns are found by the names that published collections use. The answer is the last
    ``\boxed{}`` of the solution; of several solutions, the most frequent one (LiveAoPSBench, arXiv
    2501.14275, section 3.2), where ``1/2`` and ``0.5`` count together. A column of bare answers
    counts only if no solution has a box, because published ones are cut at their first brace. A row
    that lacks something, or whose solutions are tied, is counted but not used.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist; pass a .jsonl or .parquet file of dated items")
    rows = list(_rows(path))
    items, ties = [], 0
    with Grader() as grader:
        for number, row in enumerate(rows):
            try:
                item = _item(row, number, grader)
            except _TieError:
                ties += 1
                continue
            if item is not None:
                items.append(item)
    if not items:
        seen = ", ".join(sorted({key for row in rows[:20] for key in row})) or "nothing"
        raise UsageError(
            f"{path} holds no item with question, answer and date; its columns are {seen}; "
            f"dates are read from {', '.join(DATE_COLUMNS)} or year and month"
        )
    items.sort(key=lambda item: (item.date, item.id))
    return DatedFile(tuple(items), len(rows) - len(items) - ties, ties)


def first_day(value: Any) -> date | None:
    """The first day that ``value`` can mean; None if it is not a date.

    Reads ISO dates and times, ``2024-08``, ``2024``, ``20240815``, seconds (10 digits) or
    milliseconds (13 digits) since 1970, and ``{"year": 2024, "month": 8}``.
    """
    if isinstance(value, Mapping):
        return _day(value.get("year"), value.get("month", 1), value.get("day", 1))
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    text = _written(value)
    if seconds := _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(seconds[1]), UTC).date()
    found = _PARTIAL.fullmatch(text) or _DIGITS.fullmatch(text)
    return _day(found[1], found[2] or 1, found[3] or 1) if found else None


def day_range(value: Any) -> tuple[date, date] | None:
    """First and last day that ``value`` can mean, in the forms of :func:`first_day`; or None."""
    first = first_day(value)
    if first is None:
        return None
    if isinstance(value, Mapping):
        named = (value.get(name) for name in ("year", "month", "day"))
        text = "-".join(_written(part) for part in named if part is not None)
    else:
        text = _written(value)
    found = _PARTIAL.fullmatch(text)
    return (first, last_day(text)) if found and not found[3] else (first, first)


def last_day(text: str) -> date:
    """The last day that a cutoff such as ``2024``, ``2024-03`` or ``2024-03-15`` can mean."""
    found = _PARTIAL.fullmatch(text.strip())
    month = int(found[2] or 12) if found else 0
    if found and 1 <= month <= 12:
        year = int(found[1])
        day = _day(year, month, found[3] or calendar.monthrange(year, month)[1])
        if day is not None:
            return day
    raise UsageError(f"cutoff {text!r} is not a date; write 2024, 2024-03 or 2024-03-15")


def _written(value: Any) -> str:
    """A date as it was written, without the time of day; a number as its whole part."""
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) else ""
    return re.split(r"[T\s]", str(value).strip(), maxsplit=1)[0]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        try:
            yield from pyarrow.parquet.read_table(path).to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise UsageError(f"{path} is not a Parquet file ({error})") from error
    elif path.suffix in (".jsonl", ".jl", ".json"):
        yield from _json_rows(path)
    else:
        raise UsageError(f"{path} is of an unknown kind; pass a .jsonl or .parquet file")


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            rows: Iterable[Any] = json.loads(text)
        else:
            # Not splitlines, which also splits at U+2028 and the like inside of a text.
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise UsageError(f"{path} is not readable JSON ({error})") from error
    for row in rows:
        if not isinstance(row, dict):
            raise UsageError(f"{path} holds {str(row)[:40]!r} where an object is expected")
        yield row


def _item(row: Mapping[str, Any], number: int, grader: Grader) -> DatedItem | None:
    question = _text(row, _QUESTION)
    day = next((d for key in DATE_COLUMNS if (d := first_day(row.get(key))) is not None), None)
    day = day or first_day({"year": row.get("year"), "month": row.get("month") or 1})
    if not question or day is None:
        return None
    answer = _answer(row, grader)
    if answer is None:
        return None
    return DatedItem(_text(row, _ID) or str(number), day, question, answer)


def _answer(row: Mapping[str, Any], grader: Grader) -> str | None:
    """The answer that most solutions box, else a bare one; None if none can be read."""
    bare = _texts(row, _ANSWER)
    # A bare string that holds a box is a solution; see the audit cited in `boxed_answer`.
    for texts in (_texts(row, _SOLUTION), [x for x in bare if boxed_answer(x)]):
        boxes = [box for text in texts if (box := boxed_answer(text)) is not None]
        if boxes:
            return _majority(boxes, grader)
    boxes = [boxed_answer(text) or text for text in _texts(row, _BOXES)]
    whole = [text for text in boxes or bare[:1] if _is_balanced(text)]
    return _majority(whole, grader) if whole else None


def _majority(answers: list[str], grader: Grader) -> str:
    """The first answer of the largest group of equal ones."""
    groups: list[list[str]] = []
    for answer in answers:
        same = (group for group in groups if _is_same(answer, group[0], grader))
        group = next(same, None)
        groups.append([answer]) if group is None else group.append(answer)
    groups.sort(key=len, reverse=True)
    if len(groups) > 1 and len(groups[0]) == len(groups[1]):
        raise _TieError
    return groups[0][0]


def _is_same(answer: str, other: str, grader: Grader) -> bool:
    plain = "".join(answer.split()) == "".join(other.split())
    return plain or grader.grade(answer, other).correct


def _is_balanced(answer: str) -> bool:
    r"""Whether braces close: an answer such as ``\frac{3`` was cut when the file was written."""
    depth = 0
    for number, letter in enumerate(answer):
        if number and answer[number - 1] == "\\":
            continue
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return False
    return depth == 0


def _texts(row: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """All texts of the first column that holds any; a column may hold a list."""
    for name in names:
        value = row.get(name)
        entries = value if isinstance(value, list) else [value]
        texts = [str(x).strip() for x in entries if isinstance(x, str | int | float)]
        if found := [text for text in texts if text]:
            return found
    return []


def _text(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    found = next((row[name] for name in names if row.get(name) not in (None, "", [])), None)
    if isinstance(found, list):
        found = found[0]
    return str(found).strip() if isinstance(found, str | int | float) else None


def _day(year: Any, month: Any, day: Any) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except (TypeError, ValueError):
        return None
