"""A designer elsewhere is asked beside what is measured; one on this machine never is."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from autoprune.design.chat import ChatRequest, Message, Reply
from autoprune.errors import PrerequisiteError
from autoprune.search.search import Search
from autoprune.search.spec import DesignerSpec
from autoprune.search.steps import Failed, Outcome, Propose
from flows.asking import AT_ONCE, Asking
from flows.cli import main
from tasks import design, steps
from tasks.addresses import is_of_this_machine
from tasks.design import Drafting
from tasks.run_files import RunFiles, read_object
from tasks.state import State

sys.path.append(str(Path(__file__).parents[1] / "design"))
from chat_server import Answer, completion, obedient, serving

REQUEST = ChatRequest((Message("user", "well?"),), 8, 0.0, 0)
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


def questions(count: int) -> list[Propose]:
    return [Propose(f"g1.s{n}.a0", 1, n, "explore", REQUEST) for n in range(count)]


def test_a_few_are_asked_at_a_time_in_the_callers_context() -> None:
    lock, now, most, who = threading.Lock(), [0], [0], set()

    def ask(question: Propose) -> Outcome:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            who.add(WHO.get())
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return Reply(question.step_id, seconds=0.02)

    token = WHO.set("the flow")
    try:
        found = dict(Asking(questions(11), ask).rest())
    finally:
        WHO.reset(token)
    assert sorted(q.step_id for q in found) == sorted(q.step_id for q in questions(11))
    assert all(isinstance(o, Reply) and o.text == q.step_id for q, o in found.items())
    assert most == [AT_ONCE] and who == {"the flow"}


def test_only_what_was_waited_for_is_charged() -> None:
    done = threading.Event()

    def ask(question: Propose) -> Outcome:
        if question.slot:
            done.wait(10)
            return Failed("refused", seconds=100.0)
        return Reply("quick", seconds=100.0)

    asking = Asking(questions(2), ask)
    early: list[Any] = []
    while not early:
        early += asking.arrived()
    assert early[0][1] == Reply("quick", seconds=100.0, waited=0.0)
    threading.Timer(0.2, done.set).start()
    (late,) = asking.rest()
    assert isinstance(late[1], Failed) and late[1].waited is not None
    assert 0.1 < late[1].waited < 10.0


def test_a_wait_is_never_longer_than_the_answer() -> None:
    def ask(question: Propose) -> Outcome:
        time.sleep(0.1)
        return Reply("x", seconds=0.01)

    ((_, found),) = Asking(questions(1), ask).rest()
    assert isinstance(found, Reply) and found.waited == 0.01


def test_answers_under_way_are_kept_when_one_cannot_be_asked() -> None:
    asked: list[str] = []
    failed = threading.Event()

    def ask(question: Propose) -> Outcome:
        asked.append(question.step_id)
        if question.slot == 0:
            failed.set()
            raise PrerequisiteError("the designer is gone")
        failed.wait(10)
        time.sleep(0.05)
        return Reply(question.step_id)

    found = []
    with pytest.raises(PrerequisiteError, match="is gone"):
        for question, _ in Asking(questions(12), ask).rest():
            found.append(question.step_id)
    assert sorted(found) == sorted(set(asked) - {"g1.s0.a0"})
    # Those under way, and none after the error.
    assert len(asked) <= AT_ONCE


@pytest.mark.parametrize(
    "address", ["http://localhost:8000/v1", "127.0.0.1:1", "http://[::1]:9/v1", "0.0.0.0", "HOST"]
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_of_this_machine(address.replace("HOST", f"http://{socket.gethostname()}/v1"))


@pytest.mark.parametrize("address", ["http://192.0.2.1/v1", "https://nowhere.invalid/v1"])
def test_addresses_elsewhere(address: str) -> None:
    assert not is_of_this_machine(address)


@pytest.mark.parametrize(
    ("kind", "address", "elsewhere"),
    [
        ("openai", None, True),
        ("openai", "http://192.0.2.1/v1", True),
        ("auto", "http://192.0.2.1/v1", True),
        ("openai", "http://127.0.0.1:8080/v1", False),
        ("openai", "http://host.docker.internal:8080/v1", False),
        ("local", None, False),
        ("self", None, False),
        ("scripted", None, False),
    ],
)
def test_who_designs_elsewhere(
    kind: Any, address: str | None, elsewhere: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DesignerSpec(kind=kind, base_url=address)
    assert Drafting(spec, State(home)).elsewhere is elsewhere
    if address is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        assert Drafting(DesignerSpec(kind=kind), State(home)).elsewhere is elsewhere


@dataclass
class Watch:
    """When answers were written and recipes measured: begin and end, by the same clock."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    measured: list[tuple[float, float]] = field(default_factory=list)

    def overlaps(self) -> int:
        """Answers that were being written while something was measured."""
        return sum(
            any(began < end and start < ended for start, end in self.measured)
            for began, ended in self.answers
        )


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[tuple[str, Watch]]:
    """An endpoint whose answers take so long at least, and measurements that do."""
    watch, measure = Watch(), steps.TASKS["measure"]

    def answer(body: dict[str, Any]) -> Answer:
        length = sum(len(message["content"]) for message in body["messages"])
        if length < 400:
            # The canary's questions are short.
            return obedient(body)
        began = time.monotonic()
        time.sleep(seconds)
        watch.answers.append((began, time.monotonic()))
        return completion(
            f"because: roots\nmetric: abs(W) * x_norm ** {{{0.3 + length % 97 / 97:.3f}}}"
        )

    def timed(*args: Any) -> Any:
        began = time.monotonic()
        try:
            # As slow as a model of some size.
            time.sleep(seconds)
            return measure(*args)
        finally:
            watch.measured.append((began, time.monotonic()))

    monkeypatch.setitem(steps.TASKS, "measure", timed)
    with serving(answer) as chat:
        yield chat.url, watch


@pytest.fixture
def words(tiny_folder: Path, text_file: Path, home: Path) -> list[str]:
    return f"""search --model {tiny_folder} --corpus {text_file} --designer openai --sandbox off
      --samples 4 --seqlen 48 --windows 4 --rung-windows 2 --sealed-windows 3 --candidates 16
      --slots 4 --no-register -q --run asked --json""".split()


def test_a_search_asks_elsewhere_while_it_measures(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(design, "is_of_this_machine", lambda address: False)
    with watched(monkeypatch, 0.2) as (url, watch):
        assert main([*words, "--base-url", url]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["spent"]["candidates"] == 16
    assert watch.overlaps() >= 1
    calls = read_object(RunFiles.of(State.open(), "asked").calls)["calls"]
    assert len(calls) == len(watch.answers) >= 2 and all(call["seconds"] >= 0.2 for call in calls)
    with Search.open(RunFiles.of(State.open(), "asked").folder) as search:
        waits = [
            event["outcome"]["waited"]
            for event in search.history()
            if event["step"]["kind"] == "Propose"
        ]
    # Not each was waited for in full, and what was not is not charged.
    assert sum(waits) < 0.9 * sum(call["seconds"] for call in calls)
    assert record["spent"]["seconds"] < sum(e - b for b, e in watch.measured) + sum(waits) + 5.0


def test_a_designer_of_this_machine_is_asked_alone(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with watched(monkeypatch, 0.1) as (url, watch):
        assert main([*words, "--base-url", url]) == 0
    assert watch.answers and watch.measured and watch.overlaps() == 0
    answers = sorted(watch.answers)
    assert all(one[1] <= two[0] for one, two in pairwise(answers))


def test_an_answer_that_came_is_kept_when_a_measurement_fails(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(design, "is_of_this_machine", lambda address: False)
    with watched(monkeypatch, 0.0) as (url, watch):
        measure, stopped = steps.TASKS["measure"], []

        def stop(*args: Any) -> Any:
            if str(args[1]).startswith("C") and not stopped:
                # Time enough for an answer to a question beside it.
                time.sleep(0.5)
                if watch.answers:
                    stopped.append(args)
                    raise KeyboardInterrupt
            return measure(*args)

        monkeypatch.setitem(steps.TASKS, "measure", stop)
        assert main([*words, "--base-url", url]) == 130
        with Search.open(RunFiles.of(State.open(), "asked").folder) as search:
            kept = [e for e in search.history() if e["step"]["kind"] == "Propose"]
        assert stopped and len(kept) == len(watch.answers) >= 1
        before = len(watch.answers)
        capsys.readouterr()
        assert main(["resume", "asked", "-q", "--json"]) == 0
    calls = read_object(RunFiles.of(State.open(), "asked").calls)["calls"]
    assert len(calls) == len(watch.answers) > before
