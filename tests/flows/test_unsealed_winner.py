"""A search whose winner fails on the sealed text: kept, told about, never the first champion."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.steps import Failed, Seal, Sealed
from flows.cli import main
from tasks import steps
from tasks.mirror import tracker_of
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track.registry import aliases_of

WHY = "timeout: no answer after 20 s"


def test_a_winner_without_a_sealed_figure_is_kept_and_refused(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seal = steps.WORK["seal"]

    def losing(bench: Any, wanted: Seal, *_: Any) -> Sealed:
        outcome = seal(bench, replace(wanted, recipes=wanted.recipes[1:]))
        assert isinstance(outcome, Sealed)
        failed = Failed("timeout", "no answer after 20 s")
        return replace(outcome, failures={wanted.recipes[0][0]: failed})

    monkeypatch.setitem(steps.WORK, "seal", losing)
    line = f"""search --model {tiny_folder} --corpus {text_file} --designer random --sandbox off
      --calibration-windows 4 --seqlen 48 --selection-windows 4 --rung-windows 2
      --sealed-windows 3 --candidates 4
      --slots 2 --run lost"""
    assert main(line.split()) == 0
    shown = capsys.readouterr()
    screen = " ".join((shown.out + shown.err).split())
    assert "has no sealed figure: timeout (no answer after 20 s); it is left out" in screen
    assert main([*line.split(), "--json", "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    best = record["best"]
    rows = {row["candidate"]: row for row in record["leaderboard"]}
    assert best is not None and rows[best]["verdict"] == "winner"
    assert (rows[best]["sealed_perplexity"], rows[best]["sealed_failure"]) == (None, WHY)
    assert f"{best} has no sealed figure ({WHY})." in record["facts"]

    files = RunFiles.of(State.open(home), "lost")
    assert json.loads((files.winner / "autoprune.json").read_text())["unsealed"] == WHY
    assert (
        f"This model has no figure on the sealed text: {WHY}"
        in (files.winner / "README.md").read_text()
    )
    registered = record["registered"]
    tracker = tracker_of(State.open(home))
    assert aliases_of(tracker, registered["name"]) == {"challenger": str(registered["version"])}
    promote = ["promote", "--corpus", str(text_file), "--windows", "3", "--seqlen", "48", "-q"]
    assert main([*promote, "--json"]) == 3
    verdict = json.loads(capsys.readouterr().out)
    assert not verdict["moved"] and verdict["reason"].startswith("sealed: ")
