"""Runs of a folder: listed, deleted, and winners that take room once."""

import dataclasses
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from autoprune.errors import AutopruneError, UnknownNameError, UsageError
from autoprune.storage import write_json
from flows.housekeeping.disk import LEAST_BYTES, Room, collect, folder_bytes, garbage, remove_runs
from flows.ls.listings import listing
from tasks.in_use import caches_are_read, reading_caches
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.sample_run import make_report


@pytest.fixture
def state(home: Path) -> State:
    """Two searches, one done and one killed, each with a log."""
    found = State.open()
    for run, ended in (("done", "all candidates were designed"), ("cut", "still running or ...")):
        files = RunFiles.of(found, run)
        files.folder.mkdir(parents=True)
        files.log.write_bytes(b"log")
        report = dataclasses.replace(make_report(3), run_id=run, ended=ended)
        write_json(files.report, report.to_json())
    return found


def test_runs_are_listed_with_what_became_of_them(state: State) -> None:
    with FileLock(f"{RunFiles.of(state, 'cut').log}.lock"):
        record, text = listing("runs", None)
    found = {each["run"]: each for each in record["runs"]}
    assert (found["done"]["status"], found["cut"]["status"]) == ("done", "at work")
    assert found["done"]["candidates"] == 3 and found["done"]["bytes"] > 0
    assert "unfinished" in listing("runs", None)[1] and "at work" in text


def test_a_run_that_has_not_begun_is_not_the_one_to_report(state: State) -> None:
    write_json(RunFiles.of(state, "new").params, {})
    record, text = listing("runs", None)
    assert next(each["status"] for each in record["runs"]) == "not begun"
    assert text.endswith(("--run cut", "--run done"))
    remove_runs(state, ["cut", "done"])
    assert listing("runs", None)[1].endswith("next  autoprune search MODEL")


def test_deleting_takes_named_runs_only_and_none_at_work(state: State) -> None:
    with pytest.raises(UnknownNameError, match="did you mean done"):
        remove_runs(state, ["cut", "don"])
    with (
        FileLock(f"{RunFiles.of(state, 'cut').log}.lock"),
        pytest.raises(AutopruneError, match="worked on"),
    ):
        remove_runs(state, ["done", "cut"])
    assert sorted(state.run_ids()) == ["cut", "done"]
    remove_runs(state, ["cut"])
    assert state.run_ids() == ["done"]


def test_a_search_that_is_gone_leaves_no_split_that_it_looked_at(state: State) -> None:
    folder = state.root / "fresh"
    folder.mkdir()
    for name, run in (("a", "cut"), ("b", "another")):
        write_json(folder / f"{name}.json", {"text_split": 3, "sets": ["x"], "run": run})
    remove_runs(state, ["cut"])
    assert [path.name for path in folder.glob("*.json")] == ["b.json"]


def test_a_copy_becomes_the_same_file_and_caches_go_when_asked(state: State) -> None:
    mine = RunFiles.of(state, "done").winner / "model.safetensors"
    copy, other = (state.artifacts / name / "model.safetensors" for name in ("copy", "other"))
    for path in (mine, copy, other):
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(LEAST_BYTES))
    copy.write_bytes(mine.read_bytes())
    (state.store / "x").mkdir(parents=True)
    (state.store / "x" / "kept").write_bytes(b"1" * 5000)
    state.registry.mkdir()
    (state.registry / "downloaded").write_bytes(b"1" * 5000)
    shared = state.root / "shared" / "0123" / "statistics"
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"1" * 5000)
    before = folder_bytes(state.root)
    with (
        FileLock(f"{RunFiles.of(state, 'cut').log}.lock"),
        pytest.raises(UsageError, match="at work"),
    ):
        garbage(state)
    with reading_caches(state), pytest.raises(UsageError, match="a run is at work"):
        garbage(state)
    # What a killed process left is no lock.
    (state.root / "in-use" / "1-left.lock").touch()
    assert collect(garbage(state)) >= LEAST_BYTES
    assert copy.samefile(mine) and not other.samefile(mine)
    assert before - folder_bytes(state.root) >= LEAST_BYTES
    assert not state.store.exists() and not state.registry.exists() and not shared.exists()


def test_models_that_killed_commands_left_go_after_a_day(state: State) -> None:
    left = [state.root / "upload" / "m-1", state.root / "reproduce-abc"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(os.urandom(LEAST_BYTES))
    assert garbage(state) == []
    old = time.time() - 25 * 3600
    for folder in left:
        os.utime(folder, (old, old))
    assert {room.path for room in garbage(state)} == set(left)
    assert collect(garbage(state)) >= 2 * LEAST_BYTES
    assert not any(folder.exists() for folder in left)


def test_only_what_was_freed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, copy = tmp_path / "one", tmp_path / "copy"
    for path in (one, copy):
        path.write_bytes(b"1" * 9)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_bytes(b"1" * 5000)
    found = [
        Room("copy", 9, copy, one),
        Room("folder", folder_bytes(tmp_path / "folder"), tmp_path / "folder"),
    ]
    with monkeypatch.context() as broken:
        broken.setattr("flows.housekeeping.disk.share_file", lambda *_: None)
        broken.setattr("flows.housekeeping.disk.shutil.rmtree", lambda *_, **__: None)
        assert collect(found) == 0
    assert collect(found) == 9 + found[1].bytes


@pytest.mark.parametrize(
    ("line", "work"),
    [
        ("inspect MODEL --corpus TEXT", "flows.inspect.command.inspect_model"),
        ("validate FILE.py", "flows.validate.command.validate_file"),
    ],
)
def test_caches_stay_while_a_command_without_a_bench_reads_them(
    line: str, work: str, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FILE.py", "RAW.jsonl"):
        Path(name).touch()

    def look(*_: object, **__: object) -> None:
        assert caches_are_read(State.open())
        raise UsageError("looked")

    monkeypatch.setattr(work, look)
    cli.refuses(line, "looked")
    assert not caches_are_read(State.open())


def test_models_of_a_server_are_listed_and_a_silent_one_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listing("models", None)[0]["registered"] == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    record, text = listing("models", None)
    assert record["fault"] == "no MLflow server answers at http://127.0.0.1:9"
    assert record["models"] and text.endswith(f"not listed: {record['fault']}")
    monkeypatch.setattr("tasks.mirror.require_answer", lambda *_, **__: None)
    found = [{"name": "autoprune.tiny.s50", "aliases": {"champion": "1"}}]
    monkeypatch.setattr("tasks.track.models.registered_models", lambda _: found)
    record, text = listing("models", None)
    assert record["registered"] == found and not record["fault"]
    assert "champion = version 1" in text
