"""An ask/tell search that resumes after a crash at any moment."""

from collections.abc import Generator, Mapping
from pathlib import Path
from threading import RLock
from typing import Any, Self

from autoprune.design.graph import Graph
from autoprune.design.prompts import Prompts, copy_templates
from autoprune.errors import UsageError
from autoprune.search.archive import Archive, Entry, Lead
from autoprune.search.checking import checked
from autoprune.search.deadline import allowance
from autoprune.search.events import WAIT_SECONDS, Event, EventLog
from autoprune.search.forecasts import Forecasts, graded_forecasts
from autoprune.search.identity import (
    log_id,
    made_by,
    planned_otherwise,
    recorded_spec,
    require_same,
)
from autoprune.search.loop import Preview, SearchLoop
from autoprune.search.sentinels import Sentinel
from autoprune.search.spec import SearchSpec
from autoprune.search.state import Lesson, Spent
from autoprune.search.steps import (
    Batch,
    Done,
    DoneReason,
    Measure,
    Outcome,
    Outcomes,
    Propose,
    Seal,
    Step,
    WorkStep,
    charged_seconds,
    outcome_from_json,
    outcome_to_json,
    step_to_json,
)

LOG_FILE = "search.db"
# Custom templates, copied next to the log so that a resumed search finds them.
PROMPTS_FOLDER = "prompts"


class Search:
    """One search in one folder; create it with :meth:`open`.

    Safe to use from several threads of one process. The same outcomes lead to the same state,
    regardless of the order in which the outcomes of a batch arrive.
    """

    def __init__(
        self, log: EventLog, spec: SearchSpec, prompts: Prompts, overlapping: bool
    ) -> None:
        self.spec = spec
        self.prompts = prompts
        self.overlapping = overlapping
        self._log = log
        self._lock = RLock()
        self._loop = SearchLoop(spec, prompts)
        self._generator: Generator[Batch, Outcomes, DoneReason] = self._loop.run()
        self._batch: Batch = ()
        self._outcomes: dict[str, Outcome] = {}
        self._reason: DoneReason | None = None
        self._looks = 0
        self._has_looked = False
        self._made_by = ""

    @classmethod
    def open(
        cls,
        folder: Path,
        spec: SearchSpec | None = None,
        *,
        prompts: Path | None = None,
        overlapping: bool = False,
        wait: float = WAIT_SECONDS,
    ) -> "Search":
        """Start a search in ``folder``, or resume the one that is there."""
        path = folder / LOG_FILE
        if spec is None and not path.exists():
            raise UsageError(f"{folder} holds no search; start one there, or name another folder")
        kept = folder / PROMPTS_FOLDER
        own = None if prompts is None else Prompts(prompts)
        log = EventLog(path, wait)
        try:
            events = list(log)
            # A start that was killed before its first event does not count: copy again.
            if prompts is not None and not events:
                copy_templates(prompts, kept)
            # The copy is not edited while the search runs; a folder given later is only compared.
            copied = Prompts(kept if kept.is_dir() else None)
            templates = copied if own is None or not events else own
            recorded = recorded_spec(log, events, spec, templates)
            search = cls(log, recorded, templates, overlapping)
            search._replay(events)
        except BaseException:
            log.close()
            raise
        return search

    # Ask and tell

    def next_step(self) -> Step:
        """Return the next step; it stays the same until its outcome is recorded."""
        return self.open_steps(limit=1)[0]

    def open_steps(self, limit: int | None = None) -> list[Step]:
        """Return all independent steps that can be done now; ``[Done]`` at the end."""
        with self._lock:
            self._advance()
            if self._reason is not None:
                return [Done(self._reason)]
            waiting = [step for step in self._batch if step.step_id not in self._outcomes]
            asked = [step for step in waiting if isinstance(step, Propose)]
            if asked and not self.overlapping:
                waiting = list(asked)
            if isinstance(waiting[0], Seal):
                self._note_look()
            return list(waiting[:limit])

    def record(self, step: Step, outcome: Outcome) -> None:
        """Durably record the outcome of an open step and decide what comes next.

        Figures that are not finite become the rejection ``nan_measurement``.
        """
        self.keep(step, outcome)
        self.settle()

    def keep(self, step: Step, outcome: Outcome) -> None:
        """Record an outcome without deciding what comes next: the first half of :meth:`record`.

        For a thread other than the one that reads the search's state, which does not change
        until the reading thread calls :meth:`settle`.
        """
        with self._lock:
            if isinstance(step, Done):
                raise UsageError("the search is done; there is no outcome to record")
            waiting = {s.step_id: s for s in self._batch if s.step_id not in self._outcomes}
            if step.step_id not in waiting:
                raise UsageError(
                    f"step {step.step_id} is not open; record each step of next_step once"
                )
            planned = waiting[step.step_id]
            kept = checked(planned, outcome)
            body = {"step": step_to_json(planned), "outcome": outcome_to_json(kept)}
            event = self._log.append("outcome", step.step_id, body)
            # Use the outcome as read back from the log, so that a resumed run sees the same.
            self._outcomes[step.step_id] = outcome_from_json(event.body["outcome"])

    def seconds_for(self, step: WorkStep) -> float:
        """Return the seconds a step may take without using time that the end needs."""
        with self._lock:
            kept = sum(charged_seconds(outcome) for outcome in self._outcomes.values())
            return allowance(self._loop.state, step, kept)

    def settle(self) -> None:
        """Decide what follows from everything on record."""
        with self._lock:
            self._advance()

    # What is known

    @property
    def finished(self) -> DoneReason | None:
        """Why the search is done; None while it is running. Reading this opens no step."""
        return self._reason

    @property
    def ending(self) -> DoneReason | None:
        """Why designing has ended; the final measurement follows. None before that."""
        return self._loop.ending

    @property
    def waiting(self) -> list[WorkStep]:
        """Steps without an outcome, in order; unlike :meth:`open_steps`, does not open the seal."""
        with self._lock:
            return [step for step in self._batch if step.step_id not in self._outcomes]

    @property
    def measured_now(self) -> set[str]:
        """Recipes of the open batch that are measured, with nothing decided on them yet."""
        with self._lock:
            done = (step for step in self._batch if step.step_id in self._outcomes)
            return {step.recipe_id for step in done if isinstance(step, Measure)}

    @property
    def graph(self) -> Graph:
        """The reasoning graph; its ``digest`` is the same for resumed and uninterrupted runs."""
        return self._loop.state.graph

    @property
    def best(self) -> Entry | None:
        """The best entry on all selection windows that beats the reference, designed or not."""
        return self._loop.archive.winner()

    @property
    def entries(self) -> list[Entry]:
        """All entries in order of creation."""
        return list(self._loop.archive)

    @property
    def archive(self) -> Archive:
        """All entries and the comparisons between them."""
        return self._loop.archive

    def budget_of(self, alias: str) -> Mapping[str, Any]:
        """How an entry reaches a budget in bytes or speed, with its ``share``; else empty."""
        return self._loop.state.budget_of(alias)

    def share_of(self, alias: str) -> float:
        """Share that an entry is pruned to."""
        return self._loop.state.share_of(alias)

    @property
    def spent(self) -> Spent:
        """Budget used so far."""
        return self._loop.state.spent

    @property
    def generation(self) -> int:
        """Number of finished generations."""
        return self._loop.state.generation

    @property
    def log_id(self) -> str:
        """See :func:`autoprune.search.identity.log_id`."""
        return log_id(self._log)

    @property
    def looks(self) -> int:
        """How often the sealed split was opened; more than once only after a kill."""
        return self._looks

    @property
    def lessons(self) -> dict[str, Lesson]:
        """How often each lesson helped and hurt, by its alias."""
        return dict(self._loop.state.lessons)

    @property
    def sentinels(self) -> list[Sentinel]:
        """Recipes measured again to detect drift, and how far their figures moved."""
        return list(self._loop.sentinels.known)

    @property
    def drift(self) -> str:
        """Which sentinel drifted and how far; empty if none did."""
        return self._loop.sentinels.drift

    @property
    def rung_correlation(self) -> tuple[float | None, int]:
        """Rank agreement of the first rung with the other windows, and the number of recipes.

        Spearman's correlation within each repair; None before three recipes have both rungs.
        """
        return self._loop.state.rung_correlation()

    @property
    def layer_correlation(self) -> tuple[float | None, int]:
        """Rank agreement of the error on real layers with the whole model, and over how many."""
        return self._loop.state.layer_correlation()

    @property
    def forecasts(self) -> Forecasts | None:
        """How good the designer's forecasts were; None until one could be graded."""
        return graded_forecasts(self._loop.archive, self.graph)

    @property
    def margins(self) -> list[Lead]:
        """How the winner compares with the runner-up and the reference; empty without a winner."""
        return self._loop.archive.margins()

    def preview(self, operator: str | None = None, prompts: Prompts | None = None) -> list[Preview]:
        """Return the prompts that come next, without asking or deciding anything."""
        with self._lock:
            open_now = [step for step in self._batch if isinstance(step, Propose)]
            if open_now and operator is None and prompts is None:
                return [Preview(step.operator, step.request) for step in open_now]
            return self._loop.preview(operator, prompts)

    def history(self) -> list[dict[str, Any]]:
        """Return every recorded step with its outcome: prompts, answers, verdicts, figures."""
        with self._lock:
            return [event.body for event in self._log if event.kind == "outcome"]

    def close(self) -> None:
        """Release the folder; nothing is lost if this is never called."""
        self._generator.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside

    def _replay(self, events: list[Event]) -> None:
        recorded = {e.key: e.body for e in events if e.kind == "outcome"}
        self._looks = sum(1 for e in events if e.kind == "seal_touched")
        self._made_by = made_by(events)
        self._batch = next(self._generator)
        self._advance(recorded)
        for first in recorded:
            raise planned_otherwise(self._made_by, self._log.path.parent, first)

    def _advance(self, recorded: dict[str, dict[str, Any]] | None = None) -> None:
        """Send complete batches to the generator until it waits for an unknown outcome."""
        while self._reason is None:
            for step in self._batch:
                if recorded and step.step_id in recorded:
                    body = recorded.pop(step.step_id)
                    require_same(step, body["step"], self._made_by, self._log.path.parent)
                    self._outcomes[step.step_id] = outcome_from_json(body["outcome"])
            if any(step.step_id not in self._outcomes for step in self._batch):
                return
            outcomes = {step.step_id: self._outcomes.pop(step.step_id) for step in self._batch}
            try:
                self._batch = self._generator.send(outcomes)
            except StopIteration as stop:
                self._batch, self._reason = (), stop.value

    def _note_look(self) -> None:
        """Record that the sealed split is about to be read; once per opening of the search."""
        if self._has_looked:
            return
        self._has_looked = True
        self._looks += 1
        self._log.append("seal_touched", str(self._looks), {})
