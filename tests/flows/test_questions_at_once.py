"""A few questions at a time, each answer on record at once, only waits charged."""

import errno
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest

from autoprune.design.chat import ChatRequest, Message, Reply
from autoprune.errors import AutopruneError, PrerequisiteError
from autoprune.search.steps import Failed, Outcome, Propose
from flows.search.asking import AT_ONCE, Asking
from tests.support.prefect_stack import until

REQUEST = ChatRequest((Message("user", "well?"),), 8, 0.0, 0)
WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


def questions(count: int) -> list[Propose]:
    return [Propose(f"g1.s{n}.a0", 1, n, "explore", REQUEST) for n in range(count)]


@dataclass
class Kept:
    """What was put on record, by question."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def keep(self, question: Propose, outcome: Outcome) -> None:
        self.outcomes[question.step_id] = outcome


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_few_are_asked_at_a_time_in_the_callers_context(kept: Kept) -> None:
    lock, now, most, who = threading.Lock(), [0], [0], set()
    # The first ones wait for each other; a further one beside them would be counted.
    all_there = threading.Barrier(AT_ONCE)

    def ask(question: Propose) -> Outcome:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            who.add(WHO.get())
        if question.slot < AT_ONCE:
            all_there.wait(60)
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return Reply(question.step_id, seconds=0.02)

    token = WHO.set("the flow")
    try:
        with Asking(questions(11), ask, kept.keep) as asking:
            found = [question.step_id for question in asking.rest()]
    finally:
        WHO.reset(token)
    assert sorted(found) == sorted(kept.outcomes) == sorted(q.step_id for q in questions(11))
    assert all(isinstance(o, Reply) and o.text == step for step, o in kept.outcomes.items())
    assert most == [AT_ONCE] and who == {"the flow"}


def set_once_waited_for(asking: Asking, event: threading.Event, later: float = 0.0) -> None:
    """Set an event so many seconds after the caller has nothing else to do than to wait."""

    def work() -> None:
        while asking._idle_since is None:
            time.sleep(0.001)
        time.sleep(later)
        event.set()

    threading.Thread(target=work).start()


def test_only_what_was_waited_for_is_charged(kept: Kept) -> None:
    done = threading.Event()

    def ask(question: Propose) -> Outcome:
        if question.slot:
            done.wait(60)
            return Failed("refused", seconds=100.0)
        return Reply("quick", seconds=100.0)

    with Asking(questions(2), ask, kept.keep) as asking:
        while not kept.outcomes:
            time.sleep(0.01)
        assert kept.outcomes == {"g1.s0.a0": Reply("quick", seconds=100.0, waited=0.0)}
        set_once_waited_for(asking, done, later=0.2)
        assert [q.slot for q in asking.rest()] == [0, 1]
    late = kept.outcomes["g1.s1.a0"]
    assert isinstance(late, Failed) and late.waited is not None
    assert 0.2 <= late.waited < 100.0


def test_a_wait_is_never_longer_than_the_answer(kept: Kept) -> None:
    done = threading.Event()

    def ask(question: Propose) -> Outcome:
        done.wait(60)
        return Reply("x", seconds=0.01)

    with Asking(questions(1), ask, kept.keep) as asking:
        set_once_waited_for(asking, done, later=0.1)
        assert len(list(asking.rest())) == 1
    (found,) = kept.outcomes.values()
    assert isinstance(found, Reply) and found.waited == 0.01


def test_waits_side_by_side_come_to_the_time_that_passed(kept: Kept) -> None:
    waiting = threading.Event()

    def ask(question: Propose) -> Outcome:
        waiting.wait(60)
        time.sleep(0.2 + 0.05 * question.slot)
        return Reply("x", seconds=100.0)

    began = time.monotonic()
    with Asking(questions(4), ask, kept.keep) as asking:
        set_once_waited_for(asking, waiting)
        list(asking.rest())
    passed = time.monotonic() - began
    waits = [o.waited for o in kept.outcomes.values() if isinstance(o, Reply)]
    # The first one whole; one after the other they would come to more than passed.
    assert 0.2 <= sum(w for w in waits if w is not None) <= passed


def test_an_endpoint_that_takes_one_at_a_time_is_asked_alone(kept: Kept) -> None:
    taken = threading.Lock()
    refused: list[str] = []
    another = threading.Event()

    def ask(question: Propose) -> Outcome:
        if not taken.acquire(blocking=False):
            refused.append(question.step_id)
            another.set()
            raise PrerequisiteError("429: one at a time")
        try:
            another.wait(60)
            return Reply(question.step_id)
        finally:
            taken.release()

    with Asking(questions(9), ask, kept.keep) as asking:
        list(asking.rest())
    assert len(kept.outcomes) == 9
    assert 1 <= len(refused) < AT_ONCE


def test_answers_under_way_are_kept_when_one_cannot_be_asked(kept: Kept) -> None:
    asked: list[str] = []

    def ask(question: Propose) -> Outcome:
        asked.append(question.step_id)
        if question.slot == 0:
            raise PrerequisiteError("the designer is gone")
        time.sleep(0.1)
        return Reply(question.step_id)

    with (
        pytest.raises(PrerequisiteError, match="is gone"),
        Asking(questions(12), ask, kept.keep) as asking,
    ):
        list(asking.rest())
    # Those beside it, then itself again, alone, and none after that.
    assert sorted(kept.outcomes) == sorted(set(asked) - {"g1.s0.a0"})
    assert asked.count("g1.s0.a0") == 2 and len(set(asked)) <= AT_ONCE


def test_an_answer_that_cannot_be_kept_is_not_asked_again() -> None:
    asked: list[str] = []

    def ask(question: Propose) -> Outcome:
        asked.append(question.step_id)
        return Reply("x")

    def full(question: Propose, outcome: Outcome) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), Asking(questions(12), ask, full) as asking:
        list(asking.rest())
    assert len(asked) == len(set(asked)) <= AT_ONCE


def test_what_is_no_exception_ends_it_too(kept: Kept) -> None:
    def ask(question: Propose) -> Outcome:
        raise SystemExit(3)

    with (
        pytest.raises(AutopruneError, match="was ended by SystemExit"),
        Asking(questions(3), ask, kept.keep) as asking,
    ):
        list(asking.rest())


@pytest.mark.parametrize(("error", "waits"), [(ValueError, True), (KeyboardInterrupt, False)])
def test_whoever_leaves_begins_no_further_question(
    kept: Kept, error: type[BaseException], waits: bool
) -> None:
    asked: list[str] = []
    answers = threading.Event()

    def ask(question: Propose) -> Outcome:
        asked.append(question.step_id)
        answers.wait(60)
        return Reply("x")

    # Who waits has them soon; who does not is gone while nobody sets them.
    coming = threading.Timer(0.2, answers.set)
    if waits:
        coming.start()
    with pytest.raises(error), Asking(questions(12), ask, kept.keep):
        raise error
    assert answers.is_set() is waits
    # What fails here waits for answers that are paid; who presses Ctrl-C waits for nothing.
    assert len(kept.outcomes) == (len(asked) if waits else 0)
    answers.set()
    until(lambda: len(kept.outcomes) == len(asked), 60, "answers under way")
    assert len(asked) <= AT_ONCE
