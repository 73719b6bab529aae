"""A designer elsewhere is asked beside what is measured; one on this machine never is."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from autoprune.search.search import LOG_FILE, Search
from autoprune.storage import read_object
from flows.search import opening as searching
from flows.search.driver import Driver
from tasks import design, steps
from tasks.measure import TASKS
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.chat_server import Answer, formula_for, length_of, obedient, serving
from tests.support.command_line import CommandLine
from tests.support.inline_workers import Inline
from tests.support.small_search import FEW, LINE


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
    watch = Watch()

    def answer(body: dict[str, Any]) -> Answer:
        if length_of(body) < 400:
            # The canary's questions are short.
            return obedient(body)
        began = time.monotonic()
        time.sleep(seconds)
        watch.answers.append((began, time.monotonic()))
        return formula_for(body)

    def timed(measure: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any) -> Any:
            began = time.monotonic()
            try:
                # As slow as a model of some size.
                time.sleep(seconds)
                return measure(*args)
            finally:
                watch.measured.append((began, time.monotonic()))

        return slow

    monkeypatch.setitem(steps.WORK, "measure", timed(steps.WORK["measure"]))
    monkeypatch.setitem(TASKS, "measure", timed(TASKS["measure"]))
    with serving(answer) as chat:
        yield chat.url, watch


ASKED = (
    f"{LINE} {FEW} --designer openai --arm whole --candidates 8 --slots 4 --no-register-winner "
    "--run asked"
)


@pytest.mark.parametrize("inline", [None, Inline()], ids=["here", "workers"])
def test_a_search_asks_elsewhere_while_it_measures(
    inline: Inline | None, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(design, "is_of_this_machine", lambda address: False)

    def workers(*place: Any) -> AbstractContextManager[Inline | None]:
        return nullcontext() if inline is None else inline.started(*place)

    monkeypatch.setattr(searching, "workers", workers)
    began = time.monotonic()
    with watched(monkeypatch, 0.2) as (url, watch):
        record = cli.record(f"{ASKED} --base-url {url}")
    passed = time.monotonic() - began
    assert record["spent"]["candidates"] == 8
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
    assert inline is None or any(step.startswith("C") for step in inline.done)
    assert record["spent"]["seconds"] < passed


def test_a_designer_of_this_machine_is_asked_alone(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(monkeypatch, 0.1) as (url, watch):
        cli(f"{ASKED} --base-url {url}")
    assert watch.answers and watch.measured and watch.overlaps() == 0
    answers = sorted(watch.answers)
    assert all(one[1] <= two[0] for one, two in pairwise(answers))


def test_an_answer_that_came_is_kept_when_a_measurement_fails(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(design, "is_of_this_machine", lambda address: False)
    with watched(monkeypatch, 0.0) as (url, watch):
        measure, stopped = steps.WORK["measure"], []

        def stop(*args: Any) -> Any:
            if args[1].step_id.startswith("C") and not stopped:
                # Time enough for an answer to a question beside it.
                time.sleep(0.5)
                if watch.answers:
                    stopped.append(args)
                    raise KeyboardInterrupt
            return measure(*args)

        monkeypatch.setitem(steps.WORK, "measure", stop)
        cli(f"{ASKED} --base-url {url}", code=130)
        with Search.open(RunFiles.of(State.open(), "asked").folder) as search:
            kept = [e for e in search.history() if e["step"]["kind"] == "Propose"]
        assert stopped and len(kept) == len(watch.answers) >= 1
        before = len(watch.answers)
        cli("resume asked -q --json")
    calls = read_object(RunFiles.of(State.open(), "asked").calls)["calls"]
    assert len(calls) == len(watch.answers) > before


def test_answers_are_on_record_whatever_fails_meanwhile(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they come, not when the measurement beside them is done: a kill would lose them."""
    monkeypatch.setattr(design, "is_of_this_machine", lambda address: False)
    seen: list[int] = []
    with watched(monkeypatch, 0.0) as (url, watch):
        measure, publish = steps.WORK["measure"], Driver.publish

        def slow(*args: Any) -> Any:
            end = time.monotonic() + 10.0
            while args[1].step_id.startswith("C") and not seen and time.monotonic() < end:
                # Read as another process would after a kill.
                folder = RunFiles.of(State.open(), "asked").folder
                with sqlite3.connect(f"file:{folder / LOG_FILE}?mode=ro", uri=True) as log:
                    query = "SELECT count(*) FROM events WHERE body LIKE '%\"Reply\"%'"
                    (count,) = log.execute(query).fetchone()
                seen.extend([count] if count else [])
                time.sleep(0.05)
            return measure(*args)

        def failing(driver: Driver) -> None:
            if seen:
                raise RuntimeError("the page is gone")
            publish(driver)

        monkeypatch.setitem(steps.WORK, "measure", slow)
        monkeypatch.setattr(Driver, "publish", failing)
        assert "the page is gone" in cli(f"{ASKED} --base-url {url}", code=1).err
        assert seen[0] >= 1
        with Search.open(RunFiles.of(State.open(), "asked").folder) as search:
            kept = [e for e in search.history() if e["step"]["kind"] == "Propose"]
        assert len(kept) == len(watch.answers)
