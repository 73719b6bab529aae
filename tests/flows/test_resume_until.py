"""A search driven to its end stage by stage is the search that nothing interrupted."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.search import Search
from flows.resume.flow import resume
from flows.resume.params import ResumeParams
from flows.resume.staging import STAGES
from flows.search import search
from flows.search.params import SearchParams
from tasks import steps
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.own_state import module_state
from tests.support.small_search import ANSWERS, graph, script, small


@pytest.fixture(scope="module")
def params(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, text_file: Path, empty_store: Path
) -> Iterator[SearchParams]:
    """Of a search of seconds that a script designs, in a state folder of this module."""
    folder = tmp_path_factory.mktemp("stages")
    answers = script(folder, [ANSWERS[0], ANSWERS[2]])
    with module_state(folder, empty_store) as patch:
        # Stages compute on the search's device, whatever this process would choose.
        patch.setenv("AUTOPRUNE_DEVICE", "nonsense")
        yield small(
            tiny_folder, text_file, designer="scripted", script=answers, candidates=2, slots=2,
            draws=1, repairs="none", run="whole", device="cpu", seed=1,
        )  # fmt: skip


def do(until: str) -> dict[str, Any]:
    found: dict[str, Any] = resume.fn(ResumeParams.model_validate({"run": "cut", "until": until}))
    return found


def kinds(run: str) -> list[str]:
    """Kinds of the steps whose outcomes are on record."""
    with Search.open(State.open().run(run)) as found:
        return [one["step"]["kind"] for one in found.history()]


def test_stages_lead_a_broken_search_to_the_end_of_an_unbroken_one(
    params: SearchParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search.fn(params)
    with monkeypatch.context() as patch:
        patch.setitem(steps.WORK, "validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search.fn(cut := params.model_copy(update={"run": "cut", "register_winner": False}))
    record, seen, done = do("calibrate"), list[str](), list[str]()
    assert record["steps"] == 0 and kinds("cut") == []
    while record["open"]:
        stage = next(iter(record["open"]))
        # Sealed text stays unread until it is asked for.
        assert "Seal" not in kinds("cut") and (stage != "seal" or do("measure")["steps"] == 0)
        record, now = do(stage), kinds("cut")
        assert record["steps"] == len(now) - len(seen) > 0
        assert STAGES[stage].__name__ in now[len(seen) :] and stage not in record["open"]
        seen, done = now, [*done, stage]
    assert set(done) == {"design", "validate", "measure", "seal"} and done[-1] == "seal"
    assert record["next"] == "autoprune resume cut"
    assert graph("cut") == graph("whole")
    with Search.open(State.open().run("cut")) as found:
        assert found.looks == 1
    # Sealed, but its winner is saved by a resumed search only.
    assert not RunFiles.of(State.open(), "cut").winner.exists()
    again = search.fn(cut)
    assert again["leaderboard"] == whole["leaderboard"] and Path(again["checkpoint"]).is_dir()


def test_the_command_stops_after_a_stage_and_changes_nothing_afterwards(
    params: SearchParams, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPRUNE_HOME", str(State.at().root))
    search.fn(params)
    log = State.open().run("whole") / "search.db"

    def events() -> list[Any]:
        with sqlite3.connect(log) as database:
            return database.execute("SELECT * FROM events ORDER BY seq").fetchall()

    before = events()
    record = cli.record("resume whole --until measure")
    assert record["steps"] == 0 and record["open"] == {} and events() == before
    cli.refuses("resume whole --until prune", "calibrate", "seal")
    cli.refuses("resume whole --until seal --submit", "--submit")
    cli.refuses("resume wohle", "did you mean whole")
