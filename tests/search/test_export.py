"""A search's log as plain files: everything of it, readable while it runs, the same each time."""

import json
from pathlib import Path
from typing import Any

import pytest

from autoprune.digest import digest_file
from autoprune.errors import DamagedFileError, UsageError
from autoprune.search import Search
from autoprune.search.events import EventLog
from autoprune.search.export import export_log
from flows.cli import main
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.synthetic import Synthetic, drive, make_spec


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with Search.open(folder, make_spec()) as search:
        drive(search, Synthetic())
    return folder


def test_everything_of_the_log_is_there(run: Path, tmp_path: Path) -> None:
    record = export_log(run / "search.db", tmp_path / "out", {"run": "r"})
    out = tmp_path / "out"
    log = EventLog(run / "search.db")
    events = [vars(event) for event in log]
    log.close()
    assert lines(out / "events.jsonl") == events
    with Search.open(run) as search:
        entries = {entry.alias: entry for entry in search.entries}
        sealed = {a: e.sealed.nll for a, e in entries.items() if e.sealed is not None}
        best = search.best
        assert record["opened"]["spec"] == json.loads(json.dumps(search.spec.to_json()))
    losses = lines(out / "losses.jsonl")
    found = {e["asked"]["recipe_id"]: tuple(e["nll"]) for e in losses if e["part"] == "sealed"}
    assert found == sealed and best is not None and best.alias in found
    assert all(e["asked"]["recipe"] for e in losses if e["part"] == "sealed")
    measured = [e for e in events if e["body"].get("outcome", {}).get("kind") == "Measurement"]
    assert sum(e["part"] == "selection" for e in losses) == len(measured) > 0
    asked = [e for e in events if e["body"].get("step", {}).get("kind") == "Propose"]
    questions = lines(out / "questions.jsonl")
    assert [q["question"] for q in questions] == [e["body"]["step"]["request"] for e in asked]
    assert [q["answer"] for q in questions] == [e["body"]["outcome"] for e in asked] != []
    for name, known in record["files"].items():
        assert known == {
            "lines": len(lines(out / name)),
            "sha256": digest_file(out / name),
        }


def test_the_same_log_gives_the_same_bytes_also_while_it_is_open(run: Path, tmp_path: Path) -> None:
    export_log(run / "search.db", tmp_path / "one", {})
    with Search.open(run):
        export_log(run / "search.db", tmp_path / "two", {})
        export_log(run / "search.db", tmp_path / "one", {})
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two and len(one) == 4


def test_what_is_no_record_is_left_alone_and_a_damaged_log_named(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="no record of a search"):
        export_log(run / "search.db", mine, {})
    assert (mine / "letter.txt").read_text() == "mine"
    (tmp_path / "search.db").write_bytes(b"no database at all, not in the least")
    with pytest.raises(DamagedFileError, match=r"search\.db is no readable search log"):
        export_log(tmp_path / "search.db", tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_the_command_writes_the_record_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "state"))
    files = RunFiles.of(State.open(), "small")
    with Search.open(files.folder, make_spec()) as search:
        drive(search, Synthetic())
    files.add_facts(model_digest="ab", checkpoint="/a/place/of/this/machine")
    out = tmp_path / "out"
    assert main(["export-record", "small", "--out", str(out)]) == 0
    assert "questions.jsonl" in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text())
    assert (record["run"], record["facts"]) == ("small", {"model_digest": "ab"})
    assert main(["export-record", "smal", "--out", str(out)]) == 2
    assert "did you mean small" in capsys.readouterr().err
