"""An agent over the Model Context Protocol: the loop to the end, and what it may not name."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.mailbox import Mailbox
from autoprune.search import Search
from autoprune.search.paired import paired_difference
from flows.agents.server import build_server
from flows.search import posting
from flows.search.params import SearchParams
from flows.search.posting import facts_for_designers
from flows.search.runs import save_params
from tasks.run_files import RunFiles
from tasks.run_record import RunRecord
from tasks.state import State
from tests.support.answers_in_files import SPEC, play
from tests.support.synthetic import write_answer


@pytest.fixture
def state(home: Path) -> State:
    return State.open()


@pytest.fixture
def night(state: State, monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    """A run called night that asks in its own folder, played in a thread."""
    monkeypatch.setattr(posting, "LOOK_SECONDS", 0.001)
    files = RunFiles.of(state, "night")
    search = Search.open(files.folder, SPEC)
    save_params(state, "night", SearchParams(model="m", designer="files", run="night"))
    box = Mailbox(files.questions, "night")

    def note() -> None:
        files.open_facts().add(**facts_for_designers(search))
        RunRecord.of(search, files.read_facts(), "night").write(files)

    thread = threading.Thread(target=lambda: (play(search, box, note, wait=True), note()))
    thread.start()
    yield search
    thread.join(60)
    search.close()


def call(state: State, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What tools reply: a record, or the text of an error."""

    async def talk() -> list[Any]:
        async with Client(build_server(state)) as client:
            found = [await client.call_tool(name, given) for name, given in calls]
            return [
                r.content[0].text if r.is_error else r.structured_content  # type: ignore[union-attr]
                for r in found
            ]

    return anyio.run(talk)


def as_request(question: dict[str, Any], talk: list[Message]) -> ChatRequest:
    messages = tuple(talk)
    fields = (question["schema"] or {}).get("properties", {})
    # All that the synthetic designer reads of a grammar: the lines that are asked for.
    lines = " ".join(f"{name}: " for name in fields)
    return ChatRequest(messages, 90, 0.0, 0, lines)


def test_an_agent_plays_a_search_to_its_end(state: State, night: Search) -> None:
    replies: list[dict[str, Any]] = []
    sent: dict[str, list[Message]] = {}
    while True:
        (found,) = call(state, ("next_questions", {"run": "night", "wait_seconds": 1}))
        replies.append(found)
        if found["status"] == "finished":
            break
        texts = {}
        for question in found["questions"]:
            talk = [Message(m["role"], m["content"]) for m in question["messages"]]
            sent[question["id"].rpartition("-")[0]] = talk
            texts[question["id"]] = write_answer(as_request(question, talk)) or "I pass."
        if texts:
            (taken,) = call(state, ("answer", {"run": "night", "answers": texts}))
            assert taken["accepted"] == list(texts)
    assert night.finished == "candidates"
    asked = {
        event["step"]["step_id"]: [Message(m["role"], m["content"]) for m in messages]
        for event in night.history()
        if "request" in event["step"]
        for messages in [event["step"]["request"]["messages"]]
    }
    assert sent == asked
    known = [r["left_of_budget"]["candidates"] for r in replies if r["left_of_budget"]]
    assert known[0] > 9 and known[-1] == 0 and known == sorted(known, reverse=True)

    runs, board = call(state, ("runs", {}), ("results", {"run": "night"}))
    assert [run["run"] for run in runs["runs"]] == ["night"]
    assert board["leaderboard"][0]["rank"] == 1 and board["ended"]
    best = night.best
    assert best is not None and board["winner"] == best.alias
    reference = night.archive["wanda"]
    shown = {(one["which_is"], one["split"]): one for one in board["winner_against"]}
    for split in ("selection", "sealed"):
        own, other = (
            e.sealed.nll if split == "sealed" and e.sealed else e.results[2].nll
            for e in (best, reference)
        )
        pair = paired_difference(own, other)
        one = shown["reference", split]
        assert one["change_percent"] == pytest.approx(100 * math.expm1(pair.mean), abs=0.006)
        ends = [100 * math.expm1(end) for end in (pair.low, pair.high)]
        assert one["interval_percent"] == pytest.approx(ends, abs=0.006)


def test_answers_to_nothing_are_refused_and_results_wait_for_the_end(
    state: State, night: Search
) -> None:
    box = Mailbox(RunFiles.of(state, "night").questions, "night")
    while not (names := box.open_ids()):
        pass
    good = {names[0]: "metric: W"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"answers": {"../../params": "W"}}, "is not an open question"),
        ({"answers": good | {"g9.s9.a0-00000000": "W"}}, "is not an open question"),
        ({"answers": {names[0]: "x" * 20_001}}, "20001"),
        ({"answers": {names[0]: " "}}, "1 to"),
        ({"answers": {}}, "at least one"),
        ({"answers": good, "prompt_tokens": -1}, "from 0 up"),
        ({"answers": good, "run": "../night"}, "night"),
    ]
    replies = call(state, *[("answer", {"run": "night"} | given) for given, _ in wrong])
    for reply, (_, part) in zip(replies, wrong, strict=True):
        assert isinstance(reply, str) and part in reply
    assert box.open_ids() == names and not any(map(box.is_answered, names))
    (early,) = call(state, ("results", {"run": "night"}))
    assert isinstance(early, str) and "has not ended" in early
    # Let the search end.
    while night.finished is None:
        for name in box.open_ids():
            if not box.is_answered(name):
                box.answer(name, "I pass.")
