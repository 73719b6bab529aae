"""Executes the steps of a search, and shows and mirrors their outcomes."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

from autoprune.bench.text import SEALED
from autoprune.design.chat import Reply
from autoprune.design.mailbox import Mailbox
from autoprune.progress import Progress
from autoprune.report.counted import for_people
from autoprune.report.leaderboard import leaderboard
from autoprune.search.archive import Entry
from autoprune.search.estimate import expected_seconds
from autoprune.search.search import Search
from autoprune.search.steps import (
    Done,
    Failed,
    Measure,
    Outcome,
    Propose,
    Seal,
    Sealed,
    Validate,
    WorkStep,
    outcome_from_json,
)
from flows.runners import Workers
from flows.search.asking import Asking
from flows.search.posting import Posting, budget_left, facts_for_designers
from flows.terminal import console
from tasks import steps
from tasks.design import DesignerSession, propose
from tasks.facts import KeptFacts
from tasks.measure import call_of
from tasks.mirror import SearchMirror, update_within
from tasks.prepare import measure_dense, note_look
from tasks.publish import Publisher
from tasks.run_files import RunFiles
from tasks.run_record import RunRecord
from tasks.search_bench import SearchBench
from tasks.state import State

# Seconds a stopped run may spend on its last MLflow update; the log is complete without it.
# Its worker checks every three seconds whether it has ended, and only then calls it Cancelled.
STOP_SECONDS = 2.0
# Steps that follow each other faster share an update of MLflow, which costs more than some of them.
MIRROR_SECONDS = 5.0


@dataclass
class Driver:
    """Executes the steps of one search through tasks.

    Args:
        search: The open search.
        state: Where files are kept.
        run_id: Its name.
        bench: Its bench.
        session: Its designer.
    """

    search: Search
    state: State
    run_id: str
    bench: SearchBench
    session: DesignerSession
    notes: list[str] = field(default_factory=list)
    parent: str | None = None
    place: str = ""
    workers: Workers | None = None
    # For the designer ``files``: its folder, the answers so far, and whether to wait for answers.
    mailbox: Mailbox | None = None
    received: dict[str, Reply] = field(default_factory=dict)
    waits: bool = True
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict)
    _mirrored: bool = True
    _mirrored_at: float = -math.inf
    _best: str = ""
    _record: RunRecord | None = None
    # The last one in files, and the last one in MLflow.
    _written: RunRecord | None = None
    _sent: RunRecord | None = None
    _settled_before: int = -1
    # Seconds that records took since the last outcome, not yet counted against the limit.
    _unpaid: float = 0.0

    @property
    def files(self) -> RunFiles:
        """The run's files."""
        return RunFiles.of(self.state, self.run_id)

    @cached_property
    def facts(self) -> KeptFacts:
        """The run's facts, read once."""
        return self.files.open_facts()

    @cached_property
    def _mlflow(self) -> SearchMirror:
        return SearchMirror(self.state)

    def run(self, until: type[WorkStep] | None = None) -> int:
        """Work until the search is done, or a step of a kind is on record and none of it waits.

        Sealed text is read only until :class:`Seal` or None.
        """
        self._report_changes(show=False)
        count, reached = 0, False
        while self.search.finished is None:
            if until is not None and (self._rests(until) or (reached and not self._waits(until))):
                break
            started = time.monotonic()
            for step in self._done():
                count += 1
                reached |= until is not None and isinstance(step, until)
                self.search.settle()
                if self.mailbox is not None:
                    # For a designer in another process.
                    self.facts.add(**facts_for_designers(self.search))
                self._add_time(step, time.monotonic() - started)
                started = time.monotonic()
                self._report_changes()
                self.write_record()
                if time.monotonic() - self._mirrored_at >= MIRROR_SECONDS:
                    self.mirror("RUNNING")
                self.publish()
        return count

    def _waits(self, kind: type[WorkStep]) -> bool:
        return any(isinstance(step, kind) for step in self.search.waiting)

    def _rests(self, until: type[WorkStep]) -> bool:
        """Whether only the sealed measurement is left, which was not asked for."""
        return until is not Seal and self._waits(Seal)

    def _done(self) -> Iterator[WorkStep]:
        """Do everything that can be done now, and yield each step once its outcome is on record."""
        open_steps = [step for step in self.search.open_steps() if not isinstance(step, Done)]
        asked = [step for step in open_steps if isinstance(step, Propose)]
        if not asked or not self.search.overlapping:
            yield from self._worked(open_steps)
            return
        others = [step for step in open_steps if not isinstance(step, Propose)]
        with self._asking(asked) as asking:
            for step in self._worked(others):
                yield step
                yield from asking.arrived()
            if self._written is not self._sent:
                # An answer may take days.
                self.mirror("RUNNING")
            if self.mailbox is None:
                console.report(self._progress("waiting for the designer"))
            yield from asking.rest()

    def _asking(
        self, asked: Sequence[Propose]
    ) -> AbstractContextManager[Asking[Propose, Outcome] | Posting]:
        if self.mailbox is None:
            return Asking(asked, self._ask, self.search.keep)
        posting = Posting(
            asked,
            self.mailbox,
            budget_left(self.search),
            self._received,
            self.search.keep,
            wait=self.waits,
            note=console.screen().event,
        )
        return nullcontext(posting)

    def _received(self, question: Propose, reply: Reply) -> Outcome:
        self.received[question.request.digest] = reply
        return self._ask(question)

    def _worked(self, todo: Sequence[WorkStep]) -> Iterator[WorkStep]:
        """Do steps here in sequence, or all at once if there are workers that can."""
        if self.workers is None or any(isinstance(s, Propose | Seal) for s in todo):
            for step in todo:
                began = time.monotonic()
                outcome = self._execute(step)
                self.search.keep(step, self._counted(step, outcome, time.monotonic() - began))
                kept = time.monotonic()
                yield step
                self._unpaid += time.monotonic() - kept
            return
        limits = {s.step_id: self.search.seconds_for(s) for s in todo}
        for step in todo:
            if limits[step.step_id] <= 0.0:
                self.search.keep(step, steps.no_time())
                yield step
        open_now = [
            s for s in todo if isinstance(s, Validate | Measure) and limits[s.step_id] > 0.0
        ]
        jobs = [(s, *call_of(s, limits[s.step_id])) for s in open_now]
        if jobs:
            console.report(self._progress(f"{len(jobs)} steps on workers"))
        for step, answer in self.workers.run(jobs):
            self.search.keep(step, outcome_from_json(answer))
            yield step

    def _counted(self, step: WorkStep, outcome: Outcome, took: float) -> Outcome:
        """Count all the time of a step against the limit, and that of the records before it."""
        if isinstance(step, Propose) or (isinstance(outcome, Failed) and not outcome.seconds):
            # An answer's seconds are its own; what did not start took none.
            return outcome
        unpaid, self._unpaid = self._unpaid, 0.0
        return replace(outcome, seconds=max(outcome.seconds, took) + unpaid)

    def _ask(self, question: Propose) -> Outcome:
        if self.search.seconds_for(question) <= 0.0:
            return steps.no_time()
        return propose(self.session, question.step_id, question.operator, question.request)

    def write_record(self) -> None:
        """Write the run's record as it stands; it is the one shown from now on."""
        self._record = self._record_now()
        self._record.write(self.files, self._written)
        self._written = self._record

    @property
    def record(self) -> RunRecord:
        """The record last written; rebuilt if the search had already finished."""
        if self._record is None:
            self._record = self._record_now()
        return self._record

    def _record_now(self) -> RunRecord:
        calls = self.files.read_calls() if self._record is None else self._record.calls
        return RunRecord.of(self.search, self.facts.known, self.run_id, calls)

    @cached_property
    def shown(self) -> Publisher:
        """The run in Prefect's UI."""
        return Publisher(self.search.spec.model, self.search.spec.target)

    def stop(self, status: str) -> None:
        """Write the last record and tell MLflow, within seconds and without creating a task run."""
        self.write_record()
        update_within(STOP_SECONDS, self._mlflow.mirrored, self.record, status, self._settled())

    def publish(self) -> None:
        """Update Prefect's UI: the progress always, the table when it has grown."""
        note, left = self._status_line(), expected_seconds(self.search)
        spent = self.search.spent.seconds
        if self.search.finished is not None:
            self.shown.progress(1, 1, note)
        elif left is not None:
            self.shown.progress(spent, spent + left, note)
        settled = self._settled()
        if settled != self._settled_before or self.search.finished is not None:
            self._settled_before = settled
            self.shown.leaderboard(leaderboard(self.record.report), self._reference, note)

    def mirror(self, status: str) -> bool:
        """Bring MLflow up to date with the record; report an unreachable store once."""
        done = self._mlflow.mirror(self.record, status, self._settled())
        self._mirrored_at, self._sent = time.monotonic(), self._record
        if done["ok"]:
            self.parent, self.place = done["parent"], done["place"]
            self._mirrored = True
        elif self._mirrored:
            self._mirrored = False
            console.screen().event(
                f"MLflow is not accepting results ({done['error']}); the search goes on and "
                "retries with the next update"
            )
        return self._mirrored

    def _execute(self, step: WorkStep) -> Outcome:
        match step:
            case Propose():
                console.report(self._progress(f"{step.operator}: asking the designer"))
                return self._ask(step)
            case Validate():
                console.report(self._progress(f"{step.recipe_id}: in the sandbox"))
            case Measure():
                console.report(self._progress(f"{step.recipe_id}: {step.windows} windows"))
            case Seal():
                console.screen().event(
                    f"sealed text: {len(step.recipes)} recipes and the dense model, once"
                )
                self.facts.add(**note_look(self.bench))
                dense = measure_dense(self.bench, SEALED)
                self.facts.add(dense_sealed_perplexity=dense.perplexity)
                seconds = max(0.0, self.search.seconds_for(step) - dense.seconds)
                outcome = steps.do(self.bench, step, seconds)
                self._name_failures(outcome)
                return outcome
        return steps.do(self.bench, step, self.search.seconds_for(step))

    def _name_failures(self, outcome: Outcome) -> None:
        """Say which recipes have no sealed figure."""
        if isinstance(outcome, Sealed):
            for alias, failed in outcome.failures.items():
                console.screen().event(
                    f"{alias} has no sealed figure: {failed.code} ({failed.detail}); it is left out"
                )

    def _progress(self, note: str) -> Progress:
        budget = self.search.spec.budget.candidates
        return Progress("search", min(self.search.spent.candidates, budget - 1), budget, note)

    @property
    def _reference(self) -> str:
        return for_people(self.search.spec.reference)

    def _settled(self) -> int:
        finished = self.search.generation
        orders = [e.order for e in self.search.entries if e.generation <= finished]
        return max(orders, default=0)

    def _report_changes(self, *, show: bool = True) -> None:
        """Report what changed, and the estimated time left."""
        screen = console.screen()
        for entry in self.search.entries:
            found = entry.measurement if entry.duplicate_of is None else None
            now = (entry.status, len(found.nll) if found else 0)
            before = self._seen.get(entry.alias)
            self._seen[entry.alias] = now
            line = describe(entry, self._reference) if now != before else ""
            if line and show:
                screen.event(line)
        best = self.search.best
        if best is not None and best.measurement is not None:
            change = (
                f" ({best.change.perplexity_change:+.1%} vs {self._reference})"
                if best.change
                else ""
            )
            text = f"{best.alias} {best.measurement.perplexity:.2f}{change}"
            if text != self._best:
                self._best = text
                screen.best(text)
        screen.remaining(expected_seconds(self.search))

    def _status_line(self) -> str:
        """Summarize in one line the progress, the best figure and the time left."""
        spec, left = self.search.spec, expected_seconds(self.search)
        parts = [f"{self.search.spent.candidates} of {spec.budget.candidates} designed"]
        if self._best:
            parts.append(f"best {self._best}")
        if left is not None and self.search.finished is None:
            parts.append(f"about {console.clock(left)} left")
        return "; ".join(parts)

    def _add_time(self, step: WorkStep, seconds: float) -> None:
        if self.mailbox is not None and isinstance(step, Propose):
            # The time went into someone's thinking, not into work here.
            return
        names = {Propose: "design", Measure: "measuring", Seal: "sealed"}
        name = names.get(type(step), "validation")
        stages = self.facts.known.get("stages", {})
        self.facts.add(stages={**stages, name: stages.get(name, 0.0) + seconds})


def describe(entry: Entry, reference: str = "Wanda") -> str:
    """Describe an entry in one line: what it is, and its result against the reference."""
    what = f"{entry.alias} {entry.formula}".strip()
    if entry.status == "rejected":
        return f"{what}: rejected, {entry.code} ({entry.detail})"
    if entry.status == "duplicate":
        return f"{what}: same as {entry.duplicate_of}"
    found = entry.measurement
    if found is None:
        return ""
    change = f", {entry.change.perplexity_change:+.1%} vs {reference}" if entry.change else ""
    if entry.left_out:
        change += f", {entry.left_out}"
    return f"{what}: perplexity {found.perplexity:.2f} on {len(found.nll)} windows{change}"
