"""The leaderboard in a terminal: wide ones, narrow ones, figures far from the rest."""

import math
from dataclasses import replace
from typing import Any

import pytest

from autoprune.report.data import Entry, RunReport
from flows.search.leaderboard import rows, table
from tasks.publish import table_row

FORMULA = "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) * x_norm ** {exponent:0.5}"


RUN = RunReport("run-1", "2026-11-29", "model", "corpus", 0.6, 13.0, ())


def _recorded(alias: str, **others: Any) -> Entry:
    return Entry(alias, alias, **{"kind": "candidate", "formula": "abs(W)"} | others)


def _entry(candidate: str, **others: Any) -> dict[str, Any]:
    plain = {
        "rank": 1,
        "candidate": candidate,
        "formula": "abs(W) * x_norm",
        "group": "row",
        "allocation": "uniform",
        "solver": "none",
        "perplexity": 112.67,
        "change_vs_wanda": -0.343,
        "sealed_perplexity": 80.45,
        "sparsity": 0.6,
        "verdict": "winner",
        "code": "",
    }
    return plain | others


ENTRIES = [
    _entry("wanda+ramp+sparsegpt", allocation="ramp", solver="sparsegpt"),
    _entry("ria", rank=2, formula=FORMULA, verdict="baseline"),
    _entry("C9", rank=None, perplexity=None, change_vs_wanda=None, sealed_perplexity=None)
    | {"sparsity": None, "verdict": "rejected", "code": "non_finite"},
]


@pytest.mark.parametrize("columns", [80, 107, 108, 160])
def test_nothing_is_cut_and_no_line_is_longer_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = table(ENTRIES)
    assert max(map(len, text.splitlines())) <= columns
    words = " ".join(text.split())
    for expected in ("wanda+ramp+sparsegpt", "ramp · sparsegpt", "rejected: non_finite", "-34.3%"):
        assert expected in words
    assert all(piece in words for piece in FORMULA.split())
    assert "…" not in text


def test_shares_of_zeros_show_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    assert "60.00%" in table(ENTRIES)
    monkeypatch.setenv("COLUMNS", "80")
    assert "60.00%" not in table(ENTRIES)


def test_a_figure_far_from_the_rest_takes_no_more_room_than_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    far = _entry("C3", perplexity=3511141578.47, change_vs_wanda=30813714.69)
    text = table([*ENTRIES, far])
    assert "3.51e+09" in text
    assert "x 3.08e+07" in text
    assert "x 30.5" in table([_entry("magnitude", change_vs_wanda=29.535)])


def test_a_figure_of_masks_alone_says_so() -> None:
    alone = _entry("C4", verdict="stopped", left_out="masks alone")
    assert "stopped, masks alone" in table([alone]) and "masks alone" not in table(ENTRIES)
    assert table_row(alone, "Wanda")["verdict"] == "stopped, masks alone"
    few = {"few windows": 30.0}
    stopped = _recorded("C4", verdict="stopped", masks_alone="few windows", rungs=few)
    whole = replace(stopped, rungs=few | {"all windows": 31.0})
    found = [row["left_out"] for row in rows(replace(RUN, entries=(stopped, whole)))]
    assert found == ["masks alone", ""]


def test_the_best_come_first_and_what_was_made_by_hand_is_named_so() -> None:
    entries = (
        _recorded("C1", verdict="rejected", code="non_finite"),
        _recorded("wanda", kind="baseline", rank=2, perplexity=math.inf),
        _recorded("ria", kind="baseline", rank=1, verdict="winner"),
        _recorded("C2", verdict="unmeasured"),
    )
    found = rows(replace(RUN, entries=entries))
    assert [(row["candidate"], row["verdict"]) for row in found] == [
        ("ria", "winner"),
        ("wanda", "baseline"),
        ("C1", "rejected"),
        ("C2", "unmeasured"),
    ]
    assert found[1]["perplexity"] is None


def test_a_sealed_figure_that_failed_says_so() -> None:
    lost = _entry("C1", sealed_perplexity=None, sealed_failure="timeout: no answer after 20 s")
    assert " failed " in table([lost]) and " failed " not in table(ENTRIES)
