"""A search goes on with the templates and facts it began with, whatever becomes of the files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.search import Search
from flows.search.runs import saved_params
from tasks import steps
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.small_search import FEW, LINE, script

OURS = "Beat {{ reference }} by all means."


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of templates; the relative path ``own`` leads to it."""
    folder = tmp_path / "own"
    (folder / "operators").mkdir(parents=True)
    for operator in ("seed", "explore", "exploit"):
        (folder / "operators" / f"{operator}.j2").write_text(OURS)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def line(tmp_path: Path) -> str:
    answers = script(tmp_path, ["metric: abs(W) * x_norm ** 0.5\ngroup: row\n"])
    asked = "--candidates 2 --slots 2 --no-register-winner --run kept"
    return f"{LINE} {FEW} --designer scripted --script {answers} {asked}"


def edit(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "operators" / "seed.j2").write_text("changed")
    (own / "system.j2").write_text("new")


def leave_and_remove(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent / "state")
    shutil.rmtree(own)


def stop_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the search at a measurement; only once."""
    measure, done = steps.WORK["measure"], []

    def stopped(*args: Any) -> Any:
        done.append(args)
        if len(done) == number:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setitem(steps.WORK, "measure", stopped)


@pytest.mark.parametrize("change", [edit, leave_and_remove])
def test_resume_asks_with_the_templates_of_the_start(
    change: Callable[[Path, pytest.MonkeyPatch], None], own: Path, line: str, cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stop_at(1, monkeypatch)
    cli(f"{line} --prompts {own.name}", code=130)
    with Search.open(State.open().run("kept")) as search:
        assert not any(h["step"]["kind"] == "Propose" for h in search.history())
    change(own, monkeypatch)
    cli("resume kept -q")
    with Search.open(State.open().run("kept")) as search:
        asked = [h["step"] for h in search.history() if h["step"]["kind"] == "Propose"]
    texts = [step["request"]["messages"][1]["content"] for step in asked]
    assert any("by all means." in text for text in texts)
    assert not any("changed" in text for text in texts)


def test_another_folder_is_another_search_and_none_is_refused(
    own: Path, line: str, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.refuses(f"{line} --prompts nowhere", "prompt folder nowhere does not exist")
    assert not RunFiles.of(State.open(), "kept").log.exists()
    stop_at(1, monkeypatch)
    cli(f"{line} --prompts {own.name}", code=130)
    other = shutil.copytree(own, own.parent / "other")
    (other / "system.j2").write_text("Be brief.")
    cli.refuses(f"{line} --prompts {other}", "started with other prompts")


def test_facts_about_the_model_are_those_of_the_start(
    line: str, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "inspection.json", tmp_path / "other.json"
    file.write_text(json.dumps({"facts": ["block 1 is fragile"]}))
    stop_at(1, monkeypatch)
    cli(f"{line} --facts {file}", code=130)
    for changed in (file, other):
        changed.write_text(json.dumps({"facts": ["block 0 is fragile"]}))
    assert saved_params(State.open(), "kept").spec().facts == ("block 1 is fragile",)
    cli.refuses(f"{line} --facts {other}", "started with other settings (facts)")
    file.unlink()
    cli("resume kept -q")
