"""Rows of the leaderboard, from the entries of a run's record."""

import math
from dataclasses import replace
from typing import Any

from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.leaderboard import leaderboard, leaderboard_from_json

RUN = RunReport("run-1", "2026-11-29", "model", "corpus", 0.6, 13.0, ())


def candidate(alias: str, **others: Any) -> ReportEntry:
    return ReportEntry(alias, alias, **{"kind": "candidate", "formula": "abs(W)"} | others)


def test_the_best_come_first_and_what_was_made_by_hand_is_named_so() -> None:
    entries = (
        candidate("C1", verdict="rejected", code="non_finite"),
        candidate("wanda", kind="baseline", rank=2, perplexity=math.inf),
        candidate("ria", kind="baseline", rank=1, verdict="winner"),
        candidate("C2", verdict="unmeasured", order=2),
        candidate("C3", verdict="stopped", order=3),
    )
    found = leaderboard(replace(RUN, entries=entries))
    assert [(row.candidate, row.verdict) for row in found] == [
        ("ria", "winner"),
        ("wanda", "baseline"),
        ("C3", "stopped"),
        ("C1", "rejected"),
        ("C2", "unmeasured"),
    ]
    assert found[1].perplexity is None
    assert leaderboard_from_json([row.to_json() for row in found]) == found


def test_what_was_stopped_by_its_masks_alone_says_so() -> None:
    few = {"few windows": 30.0}
    stopped = candidate("C4", verdict="stopped", masks_alone="few windows", rungs=few)
    whole = replace(stopped, rungs=few | {"all windows": 31.0})
    found = [row.left_out for row in leaderboard(replace(RUN, entries=(stopped, whole)))]
    assert found == ["masks alone", ""]
