"""The record survives JSON and refuses what it does not know."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.errors import DamagedFileError, UsageError
from autoprune.report.data import ReportEntry, ReportNode, RunReport, read_report, write_report
from tests.support.sample_run import make_report

text = st.text(st.characters(codec="utf-8"), max_size=40)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    report = make_report()
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report


@given(text, text, st.floats(allow_nan=False), st.dictionaries(text, text, max_size=3))
def test_any_text_and_any_number_survive(
    words: str, formula: str, value: float, body: dict[str, str]
) -> None:
    entry = ReportEntry("x", words, "candidate", formula, perplexity=value, reasoning=words)
    node = ReportNode(
        "n", "hypothesis", words, body={**body, "number": 1.5, "deep": {"list": [1, None]}}
    )
    report = RunReport("r", "", "m", "c", 0.5, None, (entry,), nodes=(node,))
    written = json.dumps(report.to_json(), allow_nan=False)
    assert RunReport.from_json(json.loads(written)) == report


def test_nan_is_written_as_strict_json() -> None:
    entry = ReportEntry("x", "C1", "candidate", "abs(W)", perplexity=math.nan)
    report = RunReport("r", "", "m", "c", 0.5, math.inf, (entry,))
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    back = RunReport.from_json(value)
    assert math.isnan(back.entries[0].perplexity or 0.0)
    assert back.dense_perplexity == math.inf
    assert not back.entries[0].measured


def test_an_entry_read_back_is_written_in_the_same_bytes() -> None:
    odd = ReportEntry(
        "x", "C1", "candidate", "abs(W)", perplexity=math.inf, kl=math.nan, rungs={"all": 2e-7},
        layer_sparsity={"a": 1 / 3}, change_interval=(-0.1, 1e16), reasoning="\ud83d",
    )  # fmt: skip
    report = make_report()
    body = replace(report, entries=(*report.entries, odd)).to_json()
    back = RunReport.from_json(json.loads(json.dumps(body)))
    written = json.dumps([entry.to_json() for entry in back.entries])
    assert written == json.dumps(body["entries"])


def test_half_of_a_surrogate_pair_does_not_stop_the_record(tmp_path: Path) -> None:
    report = replace(make_report(2), command="\ud83d hello")
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json").command.endswith(" hello")


def test_other_versions_and_unknown_fields_are_refused_in_words() -> None:
    value = make_report(2).to_json()
    with pytest.raises(UsageError, match="format 99"):
        RunReport.from_json({**value, "schema_version": 99})
    with pytest.raises(UsageError, match="surprise"):
        RunReport.from_json({**value, "surprise": 1})
    with pytest.raises(UsageError, match="entries"):
        RunReport.from_json({**value, "entries": [{"id": "x"}]})


def test_a_file_that_is_no_report_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(UsageError, match="no report at"):
        read_report(path)
    path.write_text("[1, 2]")
    with pytest.raises(UsageError, match="holds no run report"):
        read_report(path)
    path.write_text('{"schema_version": 1, ')
    with pytest.raises(DamagedFileError, match="is not JSON"):
        read_report(path)


def test_a_rejection_has_a_code_and_nothing_else_has_one() -> None:
    with pytest.raises(ValueError, match="a rejection has a code"):
        ReportEntry("x", "C1", "candidate", "abs(W)", verdict="rejected")
    with pytest.raises(ValueError, match="a rejection has a code"):
        ReportEntry("x", "C1", "candidate", "abs(W)", code="timeout")


def test_rank_winner_and_baseline_come_from_measured_entries_only() -> None:
    stopped = ReportEntry("s", "C1", "candidate", "a", verdict="stopped", perplexity=1.0)
    good = ReportEntry("g", "C2", "candidate", "b", perplexity=50.0)
    wanda = ReportEntry("w", "Wanda", "baseline", "abs(W) * x_norm", perplexity=60.0)
    report = RunReport("r", "", "m", "c", 0.5, 20.0, (wanda, stopped, good))
    assert [e.id for e in report.ranked] == ["g", "w"]
    assert report.winner == good
    assert report.baseline("wanda") == wanda
    assert replace(report, entries=(wanda,)).winner is None
