"""A search whose designer answers in files: killed anywhere, half answered, it ends the same."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoprune.design.mailbox import ANSWERED, Mailbox
from autoprune.search import Search
from autoprune.storage import read_object
from flows.cli import main
from flows.search import posting
from flows.search.posting import OpenQuestionsError
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support import forked
from tests.support.answers_in_files import SPEC, answer_some, play, request_of
from tests.support.command_line import CommandLine
from tests.support.small_search import FEW, LINE
from tests.support.synthetic import write_answer


class KilledError(BaseException):
    """Stands for kill -9 between two lines."""


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "LOOK_SECONDS", 0.001)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole")
    box = Mailbox(folder / "box", "night")
    with Search.open(folder, SPEC) as search:
        play(search, box, lambda: answer_some(box), wait=True)
        # Days may pass: nothing of it counts.
        asked = [e for e in search.history() if e["step"]["kind"] == "Propose"]
        assert len(asked) > 4 and all(e["outcome"]["seconds"] == 0.0 for e in asked)
        assert all(e["outcome"]["waited"] == 0.0 for e in asked)
        copies = [json.loads(p.read_text()) for p in (box.folder / ANSWERED).glob("*.json")]
        assert {c["step"]: c["answer"] for c in copies} == {
            e["step"]["step_id"]: e["outcome"]["text"] for e in asked
        }
        assert box.open_ids() == []
        return search.graph.digest


def test_a_bad_answer_comes_back_as_a_question_with_its_error(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box", "night")
    seen: list[str] = []

    def bad() -> None:
        for name in box.open_ids():
            last = request_of(box, name).messages[-1].content
            seen.append(last)
            box.answer(name, "metric: abs(V)" if "That did not work" not in last else "metric: W")

    with Search.open(tmp_path, SPEC) as search:
        play(search, box, bad, wait=True)
    assert any("That did not work" in text and "V" in text for text in seen)


def test_half_of_the_answers_at_a_time_without_waiting(tmp_path: Path, uninterrupted: str) -> None:
    box = Mailbox(tmp_path / "box", "night")
    stops = 0
    while True:
        search = Search.open(tmp_path, SPEC)
        try:
            play(search, box, lambda: None, wait=False)
            break
        except OpenQuestionsError as error:
            stops += 1
            assert str(box.folder) in str(error) and error.exit_code == 4
            answer_some(box, lambda place: place % 2 == 0)
        finally:
            search.close()
    with Search.open(tmp_path) as again:
        assert again.graph.digest == uninterrupted
    assert stops > 3 and box.open_ids() == []


def test_killed_at_every_move_of_an_answer(
    tmp_path: Path, uninterrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Mailbox(tmp_path / "box", "night")
    moves = [0]
    due: Iterator[int] = iter(range(3, 400, 3))
    at = [next(due)]

    def dying(work: Callable[..., object]) -> Callable[..., object]:
        def done(*args: object) -> object:
            moves[0] += 1
            if moves[0] == at[0]:
                at[0] = next(due) + (at[0] % 2)
                raise KilledError
            return work(*args)

        return done

    for name in ("copy", "remove"):
        monkeypatch.setattr(Mailbox, name, dying(getattr(Mailbox, name)))
    given: list[str] = []
    kills, ended = 0, False
    while not ended:
        search = Search.open(tmp_path, SPEC)
        search.keep = dying(search.keep)  # type: ignore[method-assign, assignment]
        try:
            play(search, box, lambda: given.extend(answer_some(box)), wait=True)
            ended = True
        except KilledError:
            kills += 1
        # As a kill leaves it, but for the lock.
        search._log.close()
    with Search.open(tmp_path) as again:
        assert again.graph.digest == uninterrupted
    assert kills > 5 and box.open_ids() == []
    # No answer is lost: nobody had to write one twice.
    assert len(set(given)) == len(given)


def test_kill_9_while_questions_are_open(tmp_path: Path, uninterrupted: str) -> None:
    box = Mailbox(tmp_path / "box", "night")
    child = forked.start(lambda: play(Search.open(tmp_path, SPEC), box, lambda: None, wait=True))
    try:
        until = time.monotonic() + 300
        while not (names := box.open_ids()) and time.monotonic() < until:
            time.sleep(0.02)
        # One of them is answered before the kill, whether it is seen or not.
        box.answer(names[0], write_answer(request_of(box, names[0])))
        time.sleep(0.1)
    finally:
        os.kill(child, signal.SIGKILL)
        assert forked.ended(child) == -signal.SIGKILL
    with Search.open(tmp_path) as search:
        play(search, box, lambda: answer_some(box), wait=True)
        assert search.graph.digest == uninterrupted


def test_the_command_stops_with_4_and_resume_goes_on(cli: CommandLine, tmp_path: Path) -> None:
    line = f"{LINE} {FEW} --designer files:{tmp_path / 'box'} --designer-model Ada --no-wait"
    box = Mailbox(tmp_path / "box", "n")
    # What the synthetic designer answers depends on the order of the starts.
    line += " --precision float32 --arm whole"
    shown = cli(f"{line} --run n --candidates 1 --slots 1", code=4).err
    assert str(box.folder) in shown and shown.rstrip().endswith("next  autoprune resume n")
    for _ in range(6):
        answer_some(box)
        if (code := main(["resume", "n"])) != 4:
            break
    assert code == 0
    files = RunFiles.of(State.open(), "n")
    calls = read_object(files.calls)["calls"]
    assert calls and all(call["designer"] == "files: Ada" and call["answer"] for call in calls)
    assert read_object(files.report)["designer"] == "files: Ada"
    # Nothing that waits is part of what the search took.
    assert "design" not in files.read_facts()["stages"]
