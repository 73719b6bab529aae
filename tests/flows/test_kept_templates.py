"""A search goes on with the templates and facts it began with, whatever becomes of the files."""

import json
import shutil
from pathlib import Path

import pytest

from autoprune.search.search import Search
from flows.search.runs import saved_params
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.small_search import FEW, LINE, interrupt, script

OURS = "Beat {{ reference }} by all means."


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of templates; the relative path ``own`` leads to it."""
    folder = tmp_path / "own"
    (folder / "operators").mkdir(parents=True)
    for operator in ("seed", "explore", "exploit", "combine", "simplify", "paradigm"):
        (folder / "operators" / f"{operator}.j2").write_text(OURS)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def line(tmp_path: Path) -> str:
    answers = script(tmp_path, ["metric: abs(W) * x_norm ** 0.5\ngroup: row\n"])
    more = "--candidates 2 --slots 2 --no-register-winner --run kept"
    return f"{LINE} {FEW} --designer scripted --script {answers} {more}"


def asked() -> list[str]:
    """What the designer was asked so far."""
    with Search.open(State.open().run("kept")) as search:
        steps = [known["step"] for known in search.history()]
    proposed = [step for step in steps if step["kind"] == "Propose"]
    return [step["request"]["messages"][1]["content"] for step in proposed]


def test_resume_asks_with_the_templates_of_the_start(
    own: Path, line: str, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch)
    cli(f"{line} --slots 1 --prompts {own.name}", code=130)
    assert not asked()
    # Edited before the first question, left and removed before the second.
    (own / "operators" / "seed.j2").write_text("changed")
    (own / "system.j2").write_text("new")
    interrupt(monkeypatch, what=lambda wanted: wanted.step_id.startswith("C1"))
    cli("resume kept -q", code=130)
    edited = asked()
    monkeypatch.chdir(own.parent / "state")
    shutil.rmtree(own)
    cli("resume kept -q")
    for texts in (edited, asked()[len(edited) :]):
        assert any("by all means." in text for text in texts)
        assert not any("changed" in text for text in texts)


def test_another_folder_is_another_search_and_none_is_refused(
    own: Path, line: str, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.refuses(f"{line} --prompts nowhere", "prompt folder nowhere does not exist")
    assert not RunFiles.of(State.open(), "kept").log.exists()
    interrupt(monkeypatch)
    cli(f"{line} --prompts {own.name}", code=130)
    other = shutil.copytree(own, own.parent / "other")
    (other / "system.j2").write_text("Be brief.")
    cli.refuses(f"{line} --prompts {other}", "started with other prompts")


def test_facts_about_the_model_are_those_of_the_start(
    line: str, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = tmp_path / "inspection.json", tmp_path / "other.json"
    file.write_text(json.dumps({"facts": ["block 1 is fragile"]}))
    interrupt(monkeypatch)
    cli(f"{line} --facts {file}", code=130)
    for changed in (file, other):
        changed.write_text(json.dumps({"facts": ["block 0 is fragile"]}))
    assert saved_params(State.open(), "kept").spec().facts == ("block 1 is fragile",)
    cli.refuses(f"{line} --facts {other}", "started with other settings (facts)")
    file.unlink()
    cli("resume kept -q")
