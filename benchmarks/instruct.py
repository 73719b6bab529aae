"""Threads with planted faults through ``autoprune instruct``: what is left out, by reason.

No model is asked: a stand-in answers as what is planted in a thread demands, so the counts are
those of the pipeline alone.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from autoprune.design.transports import ScriptedDesigner
from autoprune.evaluation.grading.grader import Grader
from autoprune.instruct import Answers, Selection, Wanted, one_by_one, read_threads, select
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.forum import BENCHMARK, PLANTED, Counting, write_forum
from benchmarks.table import Goal, publish

COMMAND = "python -m benchmarks instruct"
KEPT = "kept"
SETS = {
    "build": Wanted("train", until=date(2023, 12, 15)),
    "bench": Wanted("test", since=date(2023, 6, 1)),
}
# What becomes of each kind of thread; a set named here differs from the rest.
FATES = {
    "good": KEPT, "majority": KEPT, "young": KEPT, "month": KEPT, "lonely": "no_reply",
    "chatter": "no_question", "unsolved": "no_solution", "disagree": "disagree",
    "boxless": "no_box", "tie": "tie", "link": "link", "ten": "contaminated", "nine": KEPT,
    "eight": KEPT, "seven": KEPT, "theorem": KEPT, "drawing": KEPT,
    "dateless": "unusable_row", "copy": "duplicate",
}  # fmt: skip
OTHERWISE = {
    "build": {"young": "too_young", "month": "too_young"},
    # A test set leaves out what shares eight words, and what has not one answer to grade.
    "bench": {
        "nine": "contaminated",
        "eight": "contaminated",
        "theorem": "proof",
        "drawing": "figure",
    },
}


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, help="folder to keep the counts in, as evidence")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = write_forum(Path(folder) / "raw.jsonl")
        counts = {name: _counted(raw, wanted) for name, wanted in SETS.items()}
    goals = []
    for name, found in counts.items():
        planted = planted_in(name)
        wrong = sum(abs(n) for n in _difference(_by_reason(found), planted).values())
        goals.append(Goal(f"threads that {name} counts under another reason", wrong, 0))
        goals.append(Goal(f"wrong answers that {name} keeps", found["wrong_answers"], 0))
        goals.append(Goal(f"questions that {name} asks twice", found["asked_again"], 0))
    threads = sum(PLANTED.values())
    title = f"{threads} threads with planted faults: left out by reason, and kept"
    publish("instruct", title, rows(counts), goals, counts=counts)
    if args.record:
        data = {"planted": dict(PLANTED), **counts}
        write_record(args.record, COUNTS, COMMAND, ("counts.json", data), threads=threads)


def rows(counts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each reason: threads planted for it, and threads counted, by set."""
    columns: dict[str, Mapping[str, int]] = {}
    for name, found in counts.items():
        columns[f"planted for {name}"] = planted_in(name)
        columns[f"{name}"] = _by_reason(found)
    reasons = sorted({reason for column in columns.values() for reason in column} - {KEPT})
    return [
        {"reason": reason, **{name: column.get(reason, 0) for name, column in columns.items()}}
        for reason in (*reasons, KEPT)
    ]


def planted_in(name: str) -> dict[str, int]:
    """Threads by what must become of them in a set."""
    found: Counter[str] = Counter()
    for kind, count in PLANTED.items():
        found[OTHERWISE[name].get(kind, FATES[kind])] += count
    return dict(found)


def _counted(raw: Path, wanted: Wanted) -> dict[str, Any]:
    threads, unusable = read_threads(raw)
    found: list[Selection] = []
    asked = []
    # The second time, every answer is on record.
    for _ in range(2):
        ask = one_by_one(ScriptedDesigner(Counting()))
        with Answers(raw.parent / f"{wanted.purpose}.sqlite", "stand-in", ask) as answers:
            references = [BENCHMARK]
            found.append(select(threads, wanted, answers, references=references, unusable=unusable))
            asked.append(answers.asked)
    first, again = found
    assert first == again
    with Grader() as grader:
        # Every thread asks for half of its number.
        right = [grader.grade(i.answer, rf"\frac{{{i.id}}}{{2}}").correct for i in first.items]
    return {
        "rows": len(threads) + unusable,
        "kept": len(first.items),
        "wrong_answers": right.count(False),
        "share_8_words": first.near,
        "rejected": dict(first.rejected),
        "asked": asked[0],
        "asked_again": asked[1],
    }


def _by_reason(found: Mapping[str, Any]) -> dict[str, int]:
    return {**found["rejected"], KEPT: found["kept"]}


def _difference(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) - other.get(name, 0) for name in {*one, *other}}


if __name__ == "__main__":
    main()
