"""Questions to a designer elsewhere, asked while something else is done here."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Thread

from autoprune.design.chat import Reply
from autoprune.search.steps import Failed, Outcome, Propose

# Endpoints limit how many they take at a time; more would only wait for each other there.
AT_ONCE = 4
Answer = tuple[Propose, Outcome]


class Asking:
    """Questions under way, each in a thread, and what came back.

    After one that could not be asked no further one is begun, and those under way are waited for:
    what they cost is on record before the error is raised.

    Args:
        questions: What is asked, in order, at most :data:`AT_ONCE` at a time.
        ask: Asks one; called in a thread, in the context of whoever made this.
    """

    def __init__(self, questions: Sequence[Propose], ask: Callable[[Propose], Outcome]) -> None:
        self._ask = ask
        self._ahead: SimpleQueue[Propose] = SimpleQueue()
        self._back: SimpleQueue[tuple[Propose, Outcome | Exception] | None] = SimpleQueue()
        self._error: Exception | None = None
        for question in questions:
            self._ahead.put(question)
        self._threads = min(AT_ONCE, len(questions))
        for _ in range(self._threads):
            # Whoever stops the search waits for no answer.
            Thread(target=copy_context().run, args=(self._work,), daemon=True).start()

    def arrived(self) -> Iterator[Answer]:
        """Answers that came meanwhile: nobody waited for them."""
        while True:
            try:
                found = self._back.get_nowait()
            except Empty:
                return
            yield from self._taken(found, 0.0)

    def rest(self) -> Iterator[Answer]:
        """All other answers, each with the seconds for which it was waited for.

        Raises:
            PrerequisiteError: If the designer cannot be reached, after the last answer.
        """
        while self._threads:
            began = time.monotonic()
            found = self._back.get()
            yield from self._taken(found, time.monotonic() - began)
        if self._error is not None:
            raise self._error

    def _taken(
        self, found: tuple[Propose, Outcome | Exception] | None, waited: float
    ) -> Iterator[Answer]:
        if found is None:
            self._threads -= 1
            return
        question, outcome = found
        if isinstance(outcome, Exception):
            self._error = self._error or outcome
        elif isinstance(outcome, Reply | Failed):
            yield question, replace(outcome, waited=min(waited, outcome.seconds))

    def _work(self) -> None:
        while self._error is None:
            try:
                question = self._ahead.get_nowait()
            except Empty:
                break
            try:
                self._back.put((question, self._ask(question)))
            except Exception as error:
                self._error = self._error or error
                self._back.put((question, error))
        self._back.put(None)
