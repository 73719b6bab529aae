"""Single stages of a search: a broken one driven to its end by them, a finished one made again."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UnknownNameError, UsageError
from autoprune.search.search import Search
from autoprune.storage import read_object
from flows.cli import main
from flows.params import checked
from flows.search import search
from flows.search.params import SearchParams
from flows.stage import stage
from flows.stage.params import StageParams
from flows.terminal import console
from tasks import steps
from tasks.run_files import RunFiles
from tasks.sealed_looks import sets_on_record
from tasks.state import State
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
            draws=1, repairs="none", run="whole", device="cpu",
            # Which answer a question gets follows from the seed; here the one that holds no metric.
            seed=1,
        )  # fmt: skip


@pytest.fixture(scope="module")
def whole(params: SearchParams) -> dict[str, Any]:
    """The record of that search, which nothing interrupted."""
    return search.fn(params)


def do(name: str, run: str = "whole", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = stage.fn(checked(StageParams, {"run": run, "stage": name} | more))
    return found


def events(run: str) -> list[Any]:
    with sqlite3.connect(State.open().run(run) / "search.db") as log:
        return log.execute("SELECT * FROM events ORDER BY seq").fetchall()


def test_stages_lead_a_broken_search_to_the_end_of_an_unbroken_one(
    params: SearchParams, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(steps.WORK, "validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search.fn(cut := params.model_copy(update={"run": "cut", "register_winner": False}))
    with pytest.raises(UsageError, match=r"stage seal is open .* run `autoprune stage cut valid"):
        do("seal", "cut")
    with pytest.raises(UsageError, match="nothing of the stage register"):
        do("register", "cut")
    done, orders = [], 0
    record = {"open": {"validate": 1}}
    while record["open"]:
        name, count = next(iter(record["open"].items()))
        record = do(name, "cut")
        done.append(name)
        assert record["steps"] >= count and name not in record["open"]
        orders += record["steps"]
        assert orders == sum(event[1] == "outcome" for event in events("cut"))
    assert set(done) == {"validate", "measure", "design", "seal"} and done[-1] == "seal"
    assert record["next"] == "autoprune stage cut register"
    state = State.open()
    assert graph("cut") == graph("whole")
    with Search.open(state.run("cut")) as found:
        assert found.looks == 1
    # Sealed, but its winner is not saved: a resumed search does that too, as the next stage would.
    assert not RunFiles.of(state, "cut").winner.exists()
    again = search.fn(cut)
    assert again["leaderboard"] == whole["leaderboard"] and Path(again["checkpoint"]).is_dir()


def test_a_finished_stage_is_compared_and_leaves_the_log_alone(
    whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(console.LogScreen, "event", lambda _, text: heard.append(text))
    before, facts = events("whole"), RunFiles.of(State.open(), "whole").read_facts()
    assert facts["calibration"]["cached"] is False and facts["machine"]["device"] == "cpu"
    for name, more in (
        ("measure", {}), ("measure", {"candidate": "C1"}), ("validate", {"candidate": "C1"}),
        ("validate", {"candidate": "wanda"}), ("calibrate", {}), ("register", {}),
    ):  # fmt: skip
        record = do(name, **more)
        assert record["agrees"] is True and record["steps"] == 0, record
        # A worker's run shows it in its log.
        assert heard[-1] == f"{record['what']}: agrees with the record"
    assert events("whole") == before
    after = RunFiles.of(State.open(), "whole").read_facts()
    assert after["registered"] == facts["registered"]
    assert after["calibration"]["digest"] == facts["calibration"]["digest"]
    assert after["calibration"]["cached"] is True


def test_other_figures_than_on_record_are_a_difference_and_not_a_record(
    whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, measured = events("whole"), steps.WORK["measure"]

    def moved(bench: Any, wanted: Any, *seconds: float) -> Any:
        found: Any = measured(bench, wanted, *seconds)
        return type(found)(**{**vars(found), "nll": tuple(loss + 0.05 for loss in found.nll)})

    monkeypatch.setitem(steps.WORK, "measure", moved)
    assert main(["stage", "whole", "measure", "--candidate", "C1", "-q"]) == 1
    shown = capsys.readouterr().out
    assert "DIFFERS from the record: perplexity" in shown and "masks" in shown
    assert events("whole") == before


def test_sealed_text_is_read_again_by_a_clear_word_alone(whole: dict[str, Any]) -> None:
    def looks() -> int:
        return sum(entry["looks"] for entry in sets_on_record(State.open()))

    before = looks()
    with pytest.raises(UsageError, match="--look-again, which the ledger counts"):
        do("seal")
    assert looks() == before
    record = do("seal", look_again=True)
    assert record["agrees"] is True and looks() == before + 1
    # Each further look is one of its own.
    do("seal", look_again=True)
    assert looks() == before + 2
    assert any(row["figure"] == "wanda perplexity" for row in record["compared"])


def test_damaged_statistics_are_collected_again_and_stored(whole: dict[str, Any]) -> None:
    digest = RunFiles.of(State.open(), "whole").read_facts()["calibration"]["digest"]
    notes = State.open().store.rglob("*.safetensors.json")
    (note,) = [file for file in notes if digest in file.read_text()]
    file = note.with_suffix("")
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    record = do("calibrate")
    assert record["agrees"] is True and record["what"].endswith("and stored")
    assert file.read_bytes() == good


def test_what_makes_no_sense_is_refused(
    whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="is finished, and what its sealed text showed"):
        do("design")
    with pytest.raises(UnknownNameError, match="did you mean C2 or C1"):
        do("measure", candidate="C9")
    with pytest.raises(UsageError, match="C2 holds no recipe"):
        do("validate", candidate="C2")
    with pytest.raises(UsageError, match="leave out look_again"):
        do("measure", look_again=True)
    with pytest.raises(UsageError, match="leave out candidate"):
        do("seal", candidate="C1")
    assert main(["stage", "wohle", "measure"]) == 2
    assert "did you mean whole" in capsys.readouterr().err


def test_a_finished_search_saves_its_winner_anew_in_another_type(
    params: SearchParams, whole: dict[str, Any]
) -> None:
    files = RunFiles.of(State.open(), "whole")
    again = search.fn(params.model_copy(update={"dtype": "float16"}))
    assert again["leaderboard"] == whole["leaderboard"]
    assert read_object(files.winner / "autoprune.json")["dtype_asked"] == "float16"
    assert files.read_facts()["checkpoint"]["outcome"]["dtype"] == "F16"
