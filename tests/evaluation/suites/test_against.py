"""Which figure is set against which, and what stands there where two cannot stand side by side."""

import dataclasses
from typing import Any

import pytest

from autoprune.evaluation.suites.against import compare
from autoprune.evaluation.suites.rows import RUNS, Row, RowContext

CONTEXT = RowContext("tasks", {"seed": 0}, {})


def compared(rows: list[Row], others: list[Row]) -> list[dict[str, Any]]:
    plain = [[row.to_json() for row in side] for side in (rows, others)]
    return compare(plain[0], plain[1])


def scored(correct: list[bool], **protocol: Any) -> Row:
    return CONTEXT.accuracy("gsm8k", correct, metric="exact_match", protocol=protocol)


def test_two_filters_of_a_task_are_two_figures() -> None:
    strict, loose = (
        scored([True, False], filter="strict"), scored([True, True], filter="loose")
    )  # fmt: skip
    found = compared([strict, loose], [loose, strict])
    assert [entry["filter"] for entry in found] == ["strict", "loose"]
    assert all(entry["paired"]["difference"] == 0 and not entry["refused"] for entry in found)


def test_a_model_without_numbers_is_no_other_protocol() -> None:
    broken = CONTEXT.missing("gsm8k", "exact_match", "NaN", status="not_finite")
    for row, other in (
        (broken, scored([True], shots=3)), (dataclasses.replace(broken), broken)
    ):  # fmt: skip
        (entry,) = compared([row], [other])
        assert (entry["reason"], entry["paired"], entry["refused"]) == ("not finite: NaN", None, "")
        assert (entry["value"], entry["other"]) == (None, other.value)


def test_a_refusal_hides_the_other_figure_and_no_further_one() -> None:
    first, second = scored([True, False], shots=3), scored([True, True], shots=5)
    plain = CONTEXT.accuracy("boolq", [True])
    refused, fine = compared([first, plain], [second, plain])
    assert "shots is 5 and 3" in refused["refused"]
    assert (refused["value"], refused["other"]) == (0.5, None)
    assert fine["paired"]["items"] == 1
    # Of two of one name the one of the same protocol is meant.
    (entry,) = compared([first], [second, first])
    assert entry["paired"]["difference"] == 0


def test_runs_and_figures_of_all_items_are_not_paired() -> None:
    cost = RowContext("cost", {}, {})
    slow, fast = (
        cost.figure("batch 1", "latency", t, items=(t,) * 5, details={RUNS: True})
        for t in (2.0, 1.0)
    )
    (entry,) = compared([fast], [slow])
    assert entry["paired"] is None and entry["runs"]["ratio"] == 0.5
    assert entry["runs"]["distinguishable"] and list(entry["runs"]["runs"]) == [5, 5]
    whole = CONTEXT.figure("squad", "f1", 0.4)
    (entry,) = compared([whole], [dataclasses.replace(whole, value=0.5)])
    assert "none to pair" in entry["reason"] and entry["other"] == pytest.approx(0.5)


def test_slopes_have_no_ratio() -> None:
    live = RowContext("live", {}, {})
    up, down = (live.figure("slope", "accuracy_per_year", v, unit="per year") for v in (0.1, -0.04))
    (entry,) = compared([up], [down])
    assert (entry["value"], entry["other"], entry["paired"]) == (0.1, -0.04, None)
    assert "two slopes" in entry["reason"]
