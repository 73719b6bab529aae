"""A search whose winner fails on the sealed text: kept, listed, never the first champion."""

import json
from dataclasses import replace
from typing import Any

import pytest

from autoprune.errors import AutopruneError
from autoprune.search.steps import Failed, Seal, Sealed
from tasks import steps
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import Tracker
from tasks.track.aliases import aliases_of
from tests.support.command_line import CommandLine
from tests.support.small_search import LINE

LINE_OF_FOUR = f"{LINE} --designer random --candidates 4 --slots 2"
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
    line = f"{LINE_OF_FOUR} --run lost"
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


def test_a_winner_that_cannot_be_kept_leaves_a_report(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differing(*_: Any) -> None:
        raise AutopruneError("C1 gave masks a now and b when it was measured")

    monkeypatch.setattr("flows.search.publishing.keep_winner", differing)
    shown = cli(f"{LINE_OF_FOUR} --run differs", code=1)
    assert "C1 gave masks a now" in shown.err
    files = RunFiles.of(State.open(), "differs")
    assert not files.winner.exists() and files.page.is_file()
