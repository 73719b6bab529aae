"""The benchmark that counts threads with planted faults, its record and its table."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import instruct, measured, table
from benchmarks.evidence.derivations import DERIVATIONS
from benchmarks.evidence.records import read_record
from benchmarks.forum import PLANTED
from benchmarks.measured import ROOT
from tests.support.benchmark_run import run


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    monkeypatch.setattr(table, "OUT", folder)
    return folder


def test_every_thread_is_counted_under_the_reason_it_was_planted_for(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(instruct, monkeypatch, out, "--record", str(out / "record"))
    assert all(goal["met"] and goal["value"] == 0 for goal in made["goals"])
    for row in made["rows"]:
        assert row["build"] == row["planted for build"], row
        assert row["bench"] == row["planted for bench"], row
    kept = read_record(out / "record")
    assert kept.counts["planted"] == PLANTED
    build, bench = kept.counts["build"], kept.counts["bench"]
    assert build["rejected"]["too_young"] == PLANTED["young"] + PLANTED["month"]
    assert bench["rejected"]["contaminated"] == sum(PLANTED[n] for n in ("ten", "nine", "eight"))
    assert (bench["rejected"]["proof"], bench["rejected"]["figure"]) == (4, 4)
    for found in (build, bench):
        assert found["kept"] + sum(found["rejected"].values()) == found["rows"] == 200
    assert DERIVATIONS["count"](kept, {"field": "build.rejected.tie"}) == PLANTED["tie"]


def test_a_record_that_is_written_again_does_not_count_as_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=me", "-c", "user.email=me@here")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(measured, "ROOT", tmp_path)
    record = tmp_path / "evidence" / "mine"
    record.mkdir(parents=True)
    for file in (record / "counts.json", tmp_path / "code.py"):
        file.write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "begin")
    (record / "counts.json").write_text("2")
    assert measured.commit().endswith("+") and not measured.commit(record).endswith("+")
    (tmp_path / "code.py").write_text("2")
    assert measured.commit(record).endswith("+")
    assert measured.commit(tmp_path.parent).endswith("+")


def test_a_thread_in_the_wrong_place_is_seen(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(instruct.FATES, "tie", "disagree")
    made = run(instruct, monkeypatch, out)
    wrong = {goal["what"]: goal["value"] for goal in made["goals"] if not goal["met"]}
    assert wrong == {
        f"threads that {name} counts under another reason": 2 * PLANTED["tie"]
        for name in instruct.SETS
    }


def test_the_page_on_corpora_has_the_counts_of_the_record() -> None:
    found = read_record(ROOT / "evidence" / "instruct").counts
    text = (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")
    for row in instruct.rows({name: found[name] for name in instruct.SETS}):
        reason = row["reason"] if row["reason"] == instruct.KEPT else f"`{row['reason']}`"
        assert f"| {reason} | {row['build']} | {row['bench']} |" in text, row
