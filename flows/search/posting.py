"""Questions that wait in a folder for answers; see :mod:`autoprune.design.mailbox`."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autoprune.design.chat import Reply
from autoprune.design.mailbox import Mailbox, Question
from autoprune.errors import PrerequisiteError
from autoprune.search.search import Search
from autoprune.search.steps import Measure, Outcome, Propose

LOOK_SECONDS = 0.5


class OpenQuestionsError(PrerequisiteError):
    """A search that does not wait for answers has open questions and nothing else to do."""


class Posting:
    """Posts all open questions of a search at once; like :class:`flows.search.asking.Asking`.

    Nothing is under way here: questions stay open until the search resumes. An answer is first
    copied, then recorded, then removed from the folder: a kill in between leaves either a question
    that the same file answers again, or one that the next start removes.

    Args:
        questions: The questions.
        mailbox: Folder of the questions and answers.
        left: What is left of the budget; shown in each question.
        ask: Turns an answer that has arrived into an outcome.
        keep: Puts the outcome on record.
        wait: Whether :meth:`rest` waits for answers.
        note: Called with one line: what is waited for, or what is wrong with an answer.
    """

    def __init__(
        self,
        questions: Sequence[Propose],
        mailbox: Mailbox,
        left: Mapping[str, float | None],
        ask: Callable[[Propose, Reply], Outcome],
        keep: Callable[[Propose, Outcome], None],
        *,
        wait: bool,
        note: Callable[[str], None],
    ) -> None:
        self._mailbox, self._ask, self._keep = mailbox, ask, keep
        self._wait, self._note = wait, note
        self._open = {
            question.id: (step, question)
            for step in questions
            for question in [Question(mailbox.run, step.step_id, step.operator, step.request, left)]
        }
        for name in set(mailbox.open_ids()) - set(self._open):
            mailbox.remove(name)
        for _, question in self._open.values():
            mailbox.post(question)

    def arrived(self) -> Iterator[Propose]:
        """Yield questions whose answers are there now; each is on record before it is yielded."""
        for name, (step, question) in list(self._open.items()):
            known = self._mailbox.fault(name)
            reply = self._mailbox.look(name)
            fault = self._mailbox.fault(name)
            if fault and fault != known:
                self._note(f"{fault}; the question stays open")
            if reply is None:
                continue
            self._mailbox.copy(question, reply)
            self._keep(step, self._ask(step, reply))
            self._mailbox.remove(name)
            del self._open[name]
            yield step

    def rest(self) -> Iterator[Propose]:
        """Yield all other questions as their answers arrive."""
        shown = -1
        while self._open:
            yield from self.arrived()
            if not self._open:
                return
            count = len(self._open)
            if count != shown:
                shown = count
                self._note(f"waiting for {_answers(count)} in {self._mailbox.folder}")
            if not self._wait and not any(map(self._mailbox.unsettled, self._open)):
                raise OpenQuestionsError(
                    f"{_answers(count)} wanted in {self._mailbox.folder}; write as many as you "
                    "like, each .md file says where, and go on"
                )
            time.sleep(LOOK_SECONDS)


def _answers(count: int) -> str:
    return f"{count} answer{'' if count == 1 else 's'}"


def budget_left(search: Search) -> dict[str, float | None]:
    """Return what is left of a search's budget by limit; None: there is no such limit."""
    budget, spent = search.spec.budget, search.spent
    limits = {
        "candidates": (budget.candidates, spent.candidates),
        "evaluations": (budget.evaluations, spent.evaluations),
        "seconds": (budget.seconds, round(spent.seconds, 1)),
        "tokens": (budget.tokens, spent.tokens),
        "money": (budget.money, round(spent.money, 6)),
    }
    return {
        name: None if limit is None else max(0, limit - used)
        for name, (limit, used) in limits.items()
    }


def facts_for_designers(search: Search) -> dict[str, Any]:
    """Return what a designer in another process reads: ``left``, and ``progress``.

    The latter has a ``stage``: ``starts``, ``generation`` or ``end``. Before the end, it also
    has the number of ``recipes`` and how many are ``measured`` or given up; in a generation, also
    its ``generation``.
    """
    return {"left": budget_left(search), "progress": _progress(search)}


def _progress(search: Search) -> dict[str, Any]:
    if search.finished is not None or search.ending is not None:
        return {"stage": "end"}
    number = search.generation + 1
    about: dict[str, Any] = {"stage": "generation", "generation": number}
    entries = [entry for entry in search.entries if entry.generation == number]
    starts = [entry for entry in search.entries if entry.is_baseline]
    if not entries and any(entry.status in ("proposed", "valid") for entry in starts):
        about, entries = {"stage": "starts"}, starts
    open_now = {step.recipe_id for step in search.waiting if isinstance(step, Measure)}
    ready = search.measured_now
    measured = sum(
        entry.alias in ready
        or entry.status in ("rejected", "duplicate")
        or (bool(entry.results) and entry.alias not in open_now)
        for entry in entries
    )
    return about | {"recipes": len(entries), "measured": measured}
