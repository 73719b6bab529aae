"""A search goes on with the prompt templates it began with, whatever becomes of the folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.search import Search
from flows.cli import main
from tasks import steps
from tasks.run_files import RunFiles
from tasks.state import State

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
def words(tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path) -> list[str]:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps("metric: abs(W) * x_norm ** 0.5\ngroup: row\n") + "\n")
    return f"""search --model {tiny_folder} --corpus {text_file}
      --designer scripted --script {answers} --sandbox off --calibration-windows 4 --seqlen 48
      --selection-windows 4
      --rung-windows 2 --sealed-windows 3
      --candidates 2 --slots 2 --no-register-winner -q --run kept""".split()


def edit(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "operators" / "seed.j2").write_text("changed")
    (own / "system.j2").write_text("new")


def remove(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(own)


def leave(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent / "state")


def stop_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the search at a measurement; only once."""
    measure, done = steps.WORK["measure"], []

    def stopped(*args: Any) -> Any:
        done.append(args)
        if len(done) == number:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setitem(steps.WORK, "measure", stopped)


@pytest.mark.parametrize("change", [edit, remove, leave])
def test_resume_asks_with_the_templates_of_the_start(
    change: Callable[[Path, pytest.MonkeyPatch], None],
    own: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop_at(1, monkeypatch)
    assert main([*words, "--prompts", own.name]) == 130
    with Search.open(State.open().run("kept")) as search:
        assert not any(h["step"]["kind"] == "Propose" for h in search.history())
    change(own, monkeypatch)
    assert main(["resume", "kept", "-q"]) == 0
    with Search.open(State.open().run("kept")) as search:
        asked = [h["step"] for h in search.history() if h["step"]["kind"] == "Propose"]
    texts = [step["request"]["messages"][1]["content"] for step in asked]
    assert any("by all means." in text for text in texts)
    assert not any("changed" in text for text in texts)


def test_a_search_starts_with_a_folder_that_is_there(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--prompts", "nowhere"]) == 2
    assert "prompt folder nowhere does not exist" in capsys.readouterr().err
    assert not RunFiles.of(State.open(), "kept").log.exists()


def test_another_folder_is_another_search(
    own: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop_at(1, monkeypatch)
    assert main([*words, "--prompts", own.name]) == 130
    other = own.parent / "other"
    shutil.copytree(own, other)
    (other / "system.j2").write_text("Be brief.")
    assert main([*words, "--prompts", str(other)]) == 2
    assert "started with other prompts" in capsys.readouterr().err
