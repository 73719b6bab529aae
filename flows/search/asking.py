"""Asks an external designer questions while other work is done here."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from autoprune.design.chat import Reply
from autoprune.errors import AutopruneError
from autoprune.search.steps import Failed

# Endpoints limit concurrent requests; more would only wait for each other there.
AT_ONCE = 4
# After an error here, how long to wait for answers under way, which are paid for anyway.
GRACE_SECONDS = 20.0


class Asked(Protocol):
    """A question."""

    @property
    def step_id(self) -> str:
        """Its name, for messages."""
        ...


One = TypeVar("One", bound=Asked)
Found = TypeVar("Found")


class Asking(Generic[One, Found]):
    """Questions under way, one thread each; an answer is kept as soon as it arrives.

    A question that fails while others are asked is put back, and all further ones are asked one
    at a time, since some endpoints take no more. A question that fails alone ends the asking: no
    new one is begun, and those under way are waited for.

    Args:
        questions: The questions in order; at most :data:`AT_ONCE` are asked at a time.
        ask: Asks one; called in a thread, in the context of the thread that made this.
        keep: Puts an answer on record; called in that thread too.
    """

    def __init__(
        self,
        questions: Sequence[One],
        ask: Callable[[One], Found],
        keep: Callable[[One, Found], None],
    ) -> None:
        self._ask, self._keep = ask, keep
        self._ahead = deque(questions)
        self._back: SimpleQueue[One | None] = SimpleQueue()
        self._lock = Lock()
        self._under_way = 0
        self._alone = len(questions) < 2
        self._stopped = False
        self._error: Exception | None = None
        # Since when the caller has only been waiting; None: it is working.
        self._idle_since: float | None = None
        # Daemon threads: stopping the search does not wait for answers.
        self._threads = [
            Thread(target=copy_context().run, args=(self._work,), daemon=True)
            for _ in range(min(AT_ONCE, len(questions)))
        ]
        self._working = len(self._threads)
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        if isinstance(error, Exception):
            until = time.monotonic() + GRACE_SECONDS
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))

    def arrived(self) -> Iterator[One]:
        """Yield questions that have been answered in the meantime."""
        while True:
            try:
                found = self._back.get_nowait()
            except Empty:
                return
            yield from self._taken(found)

    def rest(self) -> Iterator[One]:
        """Yield all other questions as their answers arrive."""
        while self._working:
            with self._lock:
                self._idle_since = time.monotonic()
            found = self._back.get()
            with self._lock:
                self._idle_since = None
            yield from self._taken(found)
        if self._error is not None:
            raise self._error

    def _taken(self, found: One | None) -> Iterator[One]:
        if found is None:
            self._working -= 1
        else:
            yield found

    # In threads

    def _work(self) -> None:
        try:
            while (begun := self._begin()) is not None:
                self._answer(*begun)
        finally:
            self._back.put(None)

    def _begin(self) -> tuple[One, bool] | None:
        """Return the next question, and whether it must be asked alone; None: ask nothing."""
        with self._lock:
            if self._stopped or not self._ahead or (self._alone and self._under_way):
                return None
            self._under_way += 1
            return self._ahead.popleft(), self._alone

    def _answer(self, question: One, alone: bool) -> None:
        again = not alone
        try:
            outcome = self._ask(question)
            # An answer that cannot be kept would have to be asked for, and paid for, again.
            again = False
            self._keep(question, self._with_wait(outcome))
        except BaseException as error:
            with self._lock:
                self._under_way -= 1
                if again and isinstance(error, Exception):
                    self._alone = True
                    self._ahead.appendleft(question)
                else:
                    self._stopped = True
                    self._error = self._error or _as_exception(error, question)
            return
        with self._lock:
            self._under_way -= 1
        self._back.put(question)

    def _with_wait(self, outcome: Found) -> Found:
        """Add to the outcome the seconds spent only on waiting for it."""
        if not isinstance(outcome, Reply | Failed):
            return outcome
        with self._lock:
            now, since = time.monotonic(), self._idle_since
            if since is not None:
                self._idle_since = now
        waited = 0.0 if since is None else min(now - since, outcome.seconds)
        timed: Any = replace(outcome, waited=waited)
        return timed  # type: ignore[no-any-return]


def _as_exception(error: BaseException, question: Asked) -> Exception:
    if isinstance(error, Exception):
        return error
    # Prefect ends a task with its own exceptions, which do not derive from Exception.
    return AutopruneError(
        f"the question {question.step_id} was ended by {type(error).__name__}; what is known is "
        "kept; type the same command again"
    )
