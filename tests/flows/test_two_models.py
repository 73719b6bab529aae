"""A search whose endpoint has two models: both are asked, and every record says which one wrote."""

from pathlib import Path
from typing import Any

import pytest

from autoprune.storage import read_object
from tests.support.chat_server import Answer, completion, formula_for, length_of, obedient, serving
from tests.support.command_line import CommandLine
from tests.support.small_search import FEW, LINE


def answer(body: dict[str, Any]) -> Answer:
    """``wise`` obeys grammars and designs; ``mute`` takes no grammar and says nothing of use."""
    if body["model"] == "mute":
        return completion("I would rather not.")
    return obedient(body) if length_of(body) < 400 else formula_for(body)


def test_both_models_are_asked_and_the_records_say_who_wrote_what(
    home: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPRUNE_OVERLAP", "on")
    line = f"{LINE} {FEW} --designer openai --designer-model wise,mute --candidates 12 --slots 4"
    with serving(answer) as chat:
        asked = f"--base-url {chat.url} --no-register-winner --run pair"
        shown = cli(f"{line.replace(' -q', '')} {asked}").err
        asked = {body["model"] for body in chat.bodies if length_of(body) >= 400}
    assert asked == {"wise", "mute"}
    assert "wise: answers by our grammar" in shown and "mute: answers as plain text" in shown

    run = home / "runs" / "pair"
    facts = read_object(run / "facts.json")
    assert facts["designer"] == "openai: wise, mute"
    assert [canary["model"] for canary in facts["designer_answers"]] == ["wise", "mute"]
    calls = read_object(run / "calls.json")["calls"]
    assert {call["designer"] for call in calls} == {"openai: wise", "openai: mute"}
    assert all(
        call["constraint"] != "grammar" for call in calls if call["designer"].endswith("mute")
    )
    entries = read_object(run / "report.json")["entries"]
    wrote = {e["alias"]: e["model"] for e in entries if e["model"]}
    assert set(wrote.values()) == {"wise", "mute"}
    assert all(e["code"] for e in entries if e["model"] == "mute")
