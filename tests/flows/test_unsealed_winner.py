"""A search whose winner fails on the sealed text: kept, listed, never the first champion."""

import json
from dataclasses import replace
from typing import Any

import pytest

from autoprune.search.steps import Failed, Seal, Sealed
from tasks import steps
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import Tracker
from tasks.track.registry import aliases_of
from tests.support.command_line import CommandLine
from tests.support.small_search import LINE

WHY = "timeout: no answer after 20 s"


def test_a_winner_without_a_sealed_figure_is_kept_and_refused(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = steps.WORK["seal"]

    def losing(bench: Any, wanted: Seal, *_: Any) -> Sealed:
        outcome = seal(bench, replace(wanted, recipes=wanted.recipes[1:]))
        assert isinstance(outcome, Sealed)
        failed = Failed("timeout", "no answer after 20 s")
        return replace(outcome, failures={wanted.recipes[0][0]: failed})

    monkeypatch.setitem(steps.WORK, "seal", losing)
    line = f"{LINE} --designer random --candidates 4 --slots 2 --run lost"
    shown = cli(line.replace(" -q", ""), "--json")
    screen = " ".join(shown.err.split())
    assert "has no sealed figure: timeout (no answer after 20 s); it is left out" in screen
    record = shown.record
    best = record["best"]
    rows = {row["candidate"]: row for row in record["leaderboard"]}
    assert best is not None and rows[best]["verdict"] == "winner"
    assert (rows[best]["sealed_perplexity"], rows[best]["sealed_failure"]) == (None, WHY)
    assert f"{best} has no sealed figure ({WHY})." in record["facts"]

    files = RunFiles.of(State.open(), "lost")
    assert json.loads((files.winner / "autoprune.json").read_text())["unsealed"] == WHY
    card = (files.winner / "README.md").read_text()
    assert f"This model has no figure on the sealed text: {WHY}" in card
    registered = record["registered"]
    tracker = Tracker(State.open())
    assert aliases_of(tracker, registered["name"]) == {"challenger": str(registered["version"])}
    verdict = cli.record("promote --corpus TEXT --measured-windows 3 --seqlen 48", code=3)
    assert not verdict["moved"] and verdict["reason"].startswith("sealed: ")
