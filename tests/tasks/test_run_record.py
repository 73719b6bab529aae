"""MLflow and Prefect get the record from memory: what lies on disk is only a copy."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.report.data import read_report
from autoprune.report.run_report import build_report, next_command
from autoprune.search.search import Search
from autoprune.search.spec import SearchSpec
from autoprune.search.steps import Measure
from autoprune.storage import read_object
from flows.cli.parser import parse
from flows.evaluate import grammar
from flows.search import driver
from flows.search.driver import Driver
from tasks.mirror import SearchMirror
from tasks.report import write_page
from tasks.run_files import RunFiles
from tasks.run_record import RunRecord
from tasks.state import State
from tasks.track import Tracker


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = RunFiles.of(State.open(tmp_path), "s1").folder
    with Search.open(folder, SearchSpec(model="m", corpus="c")) as found:
        yield found


def test_the_files_hold_what_the_object_holds(search: Search, tmp_path: Path) -> None:
    files = RunFiles.of(State.open(tmp_path), "s1")
    record = RunRecord.of(search, files.read_facts(), "s1")
    assert record.report.ended.startswith("still running")
    record.write(files)
    assert read_object(files.report) == record.body and read_report(files.report) == record.report
    assert read_object(files.mask_records) == record.mask_records
    assert read_object(files.calls) == {"calls": record.calls}


def test_a_file_is_written_again_only_if_its_part_changed(search: Search, tmp_path: Path) -> None:
    files = RunFiles.of(State.open(tmp_path), "s1")
    places = (files.report, files.mask_records, files.calls)
    record = RunRecord.of(search, files.read_facts(), "s1")
    record.write(files)
    changes: list[dict[str, Any]] = [{"body": {}}, {"mask_records": {"C": {}}}, {"calls": [{}]}]
    for change, place in zip(changes, places, strict=True):
        for each in places:
            each.unlink(missing_ok=True)
        record.write(files, record)
        assert not [each for each in places if each.exists()]
        record.write(files, replace(record, **change))
        assert [each for each in places if each.exists()] == [place]


@pytest.mark.parametrize(("seconds", "updates"), [(3600.0, 1), (0.0, 3)])
def test_steps_that_follow_each_other_fast_share_an_update_of_mlflow(
    seconds: float, updates: int, search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody: Any = None
    found = Driver(search, State.open(tmp_path), "s1", nobody, nobody)
    shown: list[str] = []

    def mirror(*given: Any) -> dict[str, Any]:
        shown.append(given[2])
        return {"ok": True, "parent": "p", "place": ""}

    def done(_: Driver) -> Iterator[Measure]:
        yield from [Measure("m", 0, 0, "wanda", None, 1, 2, 0.5)] * 3
        monkeypatch.setattr(Search, "finished", "candidates")

    monkeypatch.setattr(SearchMirror, "mirror", mirror)
    monkeypatch.setattr(driver, "MIRROR_SECONDS", seconds)
    monkeypatch.setattr(Driver, "_done", done)
    monkeypatch.setattr(Driver, "publish", lambda _: None)
    found.run()
    assert shown == ["RUNNING"] * updates


def test_nothing_is_read_back_from_disk(search: Search, tmp_path: Path) -> None:
    state = State.open(tmp_path)
    files = RunFiles.of(state, "s1")
    nobody: Any = None
    found = Driver(search, state, "s1", nobody, nobody)
    found.write_record()
    known = dict(found.facts.known)
    found.facts.add(designer="none")
    for file in (files.report, files.mask_records, files.calls, files.facts):
        file.unlink()
    found.facts.add(designer="local")
    assert files.read_facts() == known | {"designer": "local"}
    done = SearchMirror(state).mirrored(found.record, "RUNNING", 0)
    assert done["ok"], done["error"]
    assert Tracker(state).client.get_run(done["parent"]).data.tags
    write_page(files, found.record.report)
    assert files.page.exists()
    found.publish()


@pytest.mark.parametrize(
    ("alias", "asked"),
    [(None, ()), ("@champion", ()), ("@challenger", ("--name autoprune.m.s60 --version 2",))],
)
def test_the_gate_is_advised_only_for_a_version_that_it_may_judge(
    search: Search, monkeypatch: pytest.MonkeyPatch, alias: str | None, asked: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Search, "finished", "candidates")
    facts: dict[str, Any] = {"checkpoint": {"out": "winner"}}
    if alias is not None:
        uri = f"models:/autoprune.m.s60{alias}"
        facts["registered"] = {"name": "autoprune.m.s60", "version": "2", "uri": uri}
    lines = [command.text for command in build_report(search, "s1", facts).next_commands]
    found = tuple(line for line in lines if "promote" in line)
    assert found == tuple(f"autoprune promote {words} --dry-run" for words in asked)


def test_a_winner_is_measured_again_on_the_set_that_its_search_has_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "finished", "candidates")
    monkeypatch.setattr(grammar, "settled", lambda made, given: made.model_validate(given))
    facts: dict[str, Any] = {"checkpoint": {"out": "winner"}}
    spec = SearchSpec(model="m", corpus="c", text_split=7, seqlen=64)
    with Search.open(tmp_path, spec) as search:
        line = next_command(search, "s2", facts)
        assert line in [found.text for found in build_report(search, "s2", facts).next_commands]
        assert next_command(search, "s2", {}) == "autoprune ls candidates --run s2"
    # The whole text would be a look at the sealed part of every split.
    asked = grammar.read(parse(shlex.split(line)[1:]))
    assert (asked.model, asked.corpus, asked.part) == ("winner", "c", "sealed")
    assert (asked.text_split, asked.seqlen) == (7, 64)
