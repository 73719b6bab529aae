"""Turns: who waits for the slot of a machine and who does not."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import unwrap
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from autoprune.design.chat import ChatRequest, Message, Reply
from autoprune.design.transports import ScriptedDesigner
from autoprune.search.spec import DesignerSpec
from autoprune.storage import read_object
from tasks import slots, turns
from tasks.design import DesignerSession, propose
from tasks.slots import notes, remove_note, write_note
from tasks.state import State
from tasks.turns import turn


class Limits(ThreadingHTTPServer):
    """Prefect's slots: some refusals first, then slots, or no answer any more."""

    daemon_threads = True

    def __init__(self, refusals: int, *, dies: bool) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.refusals, self.dies = refusals, dies
        self.taken: list[str] = []
        self.given_back = self.unanswered = self.renewals = 0

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Answers(BaseHTTPRequestHandler):
    server: Limits

    def do_GET(self) -> None:
        if "/v2/concurrency_limits/" not in self.path:
            self.say(404, {})
            return
        name = self.path.rsplit("/", 1)[-1]
        slots = {"limit": 1, "active": True, "active_slots": 0, "slot_decay_per_second": 0.0}
        self.say(200, {"id": str(uuid4()), "name": name, **slots})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if "decrement" in self.path:
            self.server.given_back += 1
            self.say(204, None)
        elif "renew" in self.path:
            self.server.renewals += 1
            # A server that fails twice, and has lost the lease afterwards.
            self.say(500 if self.server.renewals <= 2 else 410, {})
        elif self.server.refusals > 0:
            self.server.refusals -= 1
            self.say(423, {"detail": "taken"})
        elif self.server.dies:
            self.server.unanswered += 1
        else:
            self.server.taken += asked["names"]
            self.say(200, {"lease_id": str(uuid4()), "limits": []})

    def say(self, status: int, body: object) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(refusals: int = 0, *, dies: bool = False) -> Iterator[Limits]:
    with Limits(refusals, dies=dies) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


@contextmanager
def in_a_run(api: str, *, detached: bool = False) -> Iterator[None]:
    with ExitStack() as stack:
        # Prefect's client by itself asks a failing server again for half a minute.
        settings = {PREFECT_API_URL: api, PREFECT_CLIENT_MAX_RETRIES: 0}
        stack.enter_context(temporary_settings(settings))
        stack.enter_context(FlowRunContext.model_construct(detached=detached))
        yield


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hear the run's log whatever a command line did to it in this process before."""
    monkeypatch.setattr(turns.log, "propagate", False)
    monkeypatch.setattr(turns.log, "disabled", False)
    before = turns.log.level
    turns.log.setLevel(logging.INFO)
    turns.log.addHandler(caplog.handler)
    yield
    turns.log.removeHandler(caplog.handler)
    turns.log.setLevel(before)


@dataclass
class Clock:
    """Time that passes by sleeping alone, and in no time."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(turns, "time", made)
    return made


NOBODY = "http://127.0.0.1:9/api"


def test_a_worker_does_not_wait_for_the_slot_that_its_own_run_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Nobody listens there: whoever asks for a slot says so.
    caplog.set_level(logging.INFO)
    with in_a_run(NOBODY, detached=True), turn(State(tmp_path), "cpu"):
        assert not list(tmp_path.iterdir())
    assert "slot" not in caplog.text


def test_a_server_that_is_down_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    with caplog.at_level(logging.INFO), in_a_run(NOBODY), turn(State(tmp_path), "cpu"):
        assert clock.now == 0
    assert "the run goes on without" in caplog.text


def test_a_run_goes_on_when_the_server_dies_while_it_waits_for_its_slot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    with serving(2, dies=True) as server, in_a_run(server.api), turn(State(tmp_path), "cpu"):
        assert server.refusals == 0
        assert server.unanswered == turns.OUTAGE_SECONDS / turns.POLL_SECONDS
    assert "waiting" in caplog.text and "the run goes on without" in caplog.text


@pytest.mark.usefixtures("clock")
def test_a_run_that_waited_gets_its_slot_and_gives_it_back(tmp_path: Path) -> None:
    with serving(refusals=2) as server, in_a_run(server.api):
        with turn(State(tmp_path), "cpu"):
            assert server.taken == ["cpu"]
            assert len(list((tmp_path / "turns").iterdir())) == 1
        assert server.given_back == 1 and not list((tmp_path / "turns").iterdir())


def test_a_lost_lease_is_noted_once_and_no_longer_renewed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turns, "RENEW_SECONDS", 0.01)
    with caplog.at_level(logging.INFO), serving() as server, in_a_run(server.api):
        # It returns by itself: nobody sets the event.
        turns._renew(uuid4(), threading.Event())
    assert server.renewals == 3
    assert caplog.text.count("not renewed") == 1 and caplog.text.count("without one") == 1


@pytest.mark.parametrize(("kind", "taken"), [("local", ["llm"]), ("scripted", [])])
def test_only_a_designer_of_this_machine_takes_a_slot(
    tmp_path: Path, kind: str, taken: list[str]
) -> None:
    session = DesignerSession(DesignerSpec(kind=kind), State(tmp_path))  # type: ignore[arg-type]
    session._designers[None] = ScriptedDesigner(["yes"])
    request = ChatRequest((Message("user", "well?"),), 8, 0.0, 0)
    with serving() as server, in_a_run(server.api), closing(session):
        # Its own task run would ask the server for more than slots.
        answer = unwrap(propose)(session, "s1", "explore", request)
        assert isinstance(answer, Reply) and answer.text == "yes"
        assert server.taken == taken and server.given_back == len(taken)


def test_a_note_that_is_just_being_written_is_none_yet(tmp_path: Path) -> None:
    state = State.open(tmp_path)
    lease = uuid4()
    write_note(state, lease, "machine")
    (written,) = (state.root / "turns").iterdir()
    written.with_name(f".{written.stem}-half.json").touch()
    assert [note.lease for note in notes(state)] == [lease]


def test_a_note_whose_slot_is_given_back_meanwhile_is_none_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State.open(tmp_path)
    gone, held = sorted((uuid4(), uuid4()), key=str)
    for lease in (gone, held):
        write_note(state, lease, "machine")

    def read(path: Path) -> dict[str, Any]:
        if path.stem == str(gone):
            remove_note(state, gone)
        return read_object(path)

    monkeypatch.setattr(slots, "read_object", read)
    assert [note.lease for note in notes(state)] == [held]
