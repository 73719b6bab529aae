"""The leaderboard in a terminal: wide ones, narrow ones, figures far from the rest."""

from typing import Any

import pytest

from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.leaderboard import LeaderboardRow
from flows.search.leaderboard import table
from tasks.publish import table_row

FORMULA = "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) * x_norm ** {exponent:0.5}"


RUN = RunReport("run-1", "2026-11-29", "model", "corpus", 0.6, 13.0, ())


def _recorded(alias: str, **others: Any) -> ReportEntry:
    return ReportEntry(alias, alias, **{"kind": "candidate", "formula": "abs(W)"} | others)


def _row(candidate: str, **others: Any) -> LeaderboardRow:
    plain = {
        "rank": 1,
        "formula": "abs(W) * x_norm",
        "verdict": "winner",
        "perplexity": 112.67,
        "change_vs_wanda": -0.343,
        "sealed_perplexity": 80.45,
        "sparsity": 0.6,
    }
    return LeaderboardRow.of(_recorded(candidate, **(plain | others)))


UNMEASURED = dict.fromkeys(("rank", "perplexity", "change_vs_wanda", "sealed_perplexity"))
ROWS = [
    _row("wanda+ramp+sparsegpt", allocation="ramp", solver="sparsegpt"),
    _row("ria", rank=2, formula=FORMULA, kind="baseline", verdict="accepted"),
    _row("C9", **UNMEASURED, sparsity=None, verdict="rejected", code="non_finite"),
]


@pytest.mark.parametrize("columns", [80, 107, 108, 160])
def test_nothing_is_cut_and_no_line_is_longer_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = table(ROWS)
    assert max(map(len, text.splitlines())) <= columns
    words = " ".join(text.split())
    for expected in ("wanda+ramp+sparsegpt", "ramp · sparsegpt", "rejected: non_finite", "-34.3%"):
        assert expected in words
    assert all(piece in words for piece in FORMULA.split())
    assert "…" not in text


def test_shares_of_zeros_show_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    assert "60.00%" in table(ROWS)
    monkeypatch.setenv("COLUMNS", "80")
    assert "60.00%" not in table(ROWS)


def test_a_figure_far_from_the_rest_takes_no_more_room_than_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    far = _row("C3", perplexity=3511141578.47, change_vs_wanda=30813714.69)
    text = table([*ROWS, far])
    assert "3.51e+09" in text
    assert "x 3.08e+07" in text
    assert "x 30.5" in table([_row("magnitude", change_vs_wanda=29.535)])


def test_a_figure_of_masks_alone_says_so() -> None:
    few = {"few windows": 30.0}
    stopped = _recorded("C4", verdict="stopped", masks_alone="few windows", rungs=few)
    alone = LeaderboardRow.of(stopped)
    assert "stopped, masks alone" in table([alone]) and "masks alone" not in table(ROWS)
    assert table_row(alone, "Wanda")["verdict"] == "stopped, masks alone"


def test_a_sealed_figure_that_failed_says_so() -> None:
    lost = _row("C1", sealed_perplexity=None, sealed_failure="timeout: no answer after 20 s")
    assert " failed " in table([lost]) and " failed " not in table(ROWS)
