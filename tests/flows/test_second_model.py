"""The demo's second model: really smaller, measured next to the dense one, saved with figures."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from flows.demo import command as demo
from flows.demo import flow as second
from flows.search.params import SearchParams
from tasks.run_files import RunFiles
from tasks.state import State


class Plain:
    """Runs flows as functions, as an engine that records nothing."""

    def __init__(self, state: State) -> None:
        self.state = state

    def call(self, flow: Any, *args: Any) -> Any:
        return flow.fn(*args)


def test_the_second_model_stands_beside_the_dense_one(
    tiny_folder: Path, text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second, "SCHEME", "depth:criterion=influence+recover:steps=2")
    monkeypatch.setattr(second, "SHARE", 0.5)
    monkeypatch.setattr(second, "SEQLEN", 96)
    params = SearchParams.model_validate({"model": str(tiny_folder), "corpus": str(text_file)})
    state = State.open(home)
    record: dict[str, Any] = {"run": "demo"}
    text = demo._second(Plain(state), params, record)
    folder = RunFiles.of(state, "demo").folder / "smaller"
    opened = AutoModelForCausalLM.from_pretrained(folder)
    figures = record["second"]["beside_dense"]
    dense, smaller = figures["dense"], figures["smaller"]
    assert opened.config.num_hidden_layers == 1
    assert opened.num_parameters() == smaller["parameters"] < dense["parameters"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    for row in (
        f"| parameters | {dense['parameters']:,} | {smaller['parameters']:,} |",
        f"| bytes of the weights | {dense['bytes']:,} | {smaller['bytes']:,} |",
        f"| tokens of a prompt read in a second | {dense['prefill']:,.1f} | ",
        f"| perplexity | {dense['perplexity']:,.2f} | {smaller['perplexity']:,.2f} |",
    ):
        assert row in card, row
    for shown in (f"{dense['parameters']:,}", "blocks removed", f"promote --folder {folder}"):
        assert shown in text, shown
    # Typed again, the same search shows the same model.
    kept = (folder / "autoprune.json").read_text()
    demo._second(Plain(state), params, record)
    assert (folder / "autoprune.json").read_text() == kept
    assert json.loads(kept)["beside_dense"] == record["second"]["beside_dense"]


def test_what_the_search_found_stands_where_no_second_model_can_be_made(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = SearchParams.model_validate({"model": str(tmp_path / "nothing")})
    record: dict[str, Any] = {"run": "demo"}
    assert "no second model" in demo._second(Plain(State.open(home)), params, record)
    assert "second" not in record and "nothing" in record["second_failed"]

    def full(*_: object) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 99 bytes")

    monkeypatch.setattr("flows.demo.second_model", SimpleNamespace(fn=full))
    assert "not enough memory" in demo._second(Plain(State.open(home)), params, record)
    assert record["second_failed"] == "not enough memory: you tried to allocate 99 bytes"
