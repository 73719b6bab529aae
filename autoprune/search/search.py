"""An ask/tell search that resumes after a crash at any moment."""

from collections.abc import Generator
from pathlib import Path
from threading import RLock
from typing import Any, Self

from autoprune.design.graph import Graph
from autoprune.design.prompts import Prompts, copy_templates
from autoprune.errors import UsageError
from autoprune.search.archive import Archive, Entry, Margin
from autoprune.search.checking import checked
from autoprune.search.deadline import allowance
from autoprune.search.events import Event, EventLog
from autoprune.search.forecasts import Forecasts, graded_forecasts
from autoprune.search.identity import made_by, planned_otherwise, recorded_spec, require_same
from autoprune.search.judging import Judging
from autoprune.search.leaderboard import Row, leaderboard
from autoprune.search.script import Preview, Script
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
# Templates that replace ours, beside the log, so that a resumed search finds them.
PROMPTS_FOLDER = "prompts"


class Search:
    """One search in one folder; build it with :meth:`open`.

    Safe to use from several threads of one process. The same outcomes lead to the same state,
    whatever the order in which the outcomes of a batch arrive.
    """

    def __init__(self, log: EventLog, spec: SearchSpec, prompts: Prompts) -> None:
        self.spec = spec
        self.prompts = prompts
        self._log = log
        self._lock = RLock()
        self._script = Script(spec, prompts)
        self._course: Generator[Batch, Outcomes, DoneReason] = self._script.run()
        self._batch: Batch = ()
        self._outcomes: dict[str, Outcome] = {}
        self._judgements: dict[str, dict[str, Any]] = {}
        self._judged = 0
        self._reason: DoneReason | None = None
        self._touches = 0
        self._made_by = ""
        # Whether questions may be open beside measurements: the designer works elsewhere.
        self.overlapping = False

    @classmethod
    def open(
        cls, folder: Path, spec: SearchSpec | None = None, *, prompts: Path | None = None
    ) -> "Search":
        """Start a search in ``folder``, or go on with the one that is there.

        Args:
            folder: Holds the log; made when missing.
            spec: None: the one on record.
            prompts: Folder of templates that replace ours; copied into ``folder``. None: those that
                the search was started with.

        Raises:
            UsageError: If there is nothing to resume, the specification or the prompts differ from
                those on record, or another version of the program planned what is on record.
            PrerequisiteError: If another process has the search open.
            DamagedFileError: If the log is damaged.
        """
        path = folder / LOG_FILE
        if spec is None and not path.exists():
            raise UsageError(f"{folder} holds no search; start one there, or name another folder")
        kept = folder / PROMPTS_FOLDER
        own = None if prompts is None else Prompts(prompts)
        log = EventLog(path)
        try:
            events = list(log)
            # Until its first event is on record a killed start is none: it copies again.
            if prompts is not None and not events:
                copy_templates(prompts, kept)
            # Nobody edits the copy while the search runs; another folder is only compared with it.
            copied = Prompts(kept if kept.is_dir() else None)
            templates = copied if own is None or not events else own
            search = cls(log, recorded_spec(log, events, spec, templates), templates)
            search._replay(events)
        except BaseException:
            log.close()
            raise
        return search

    # Ask and tell

    def next_step(self) -> Step:
        """The next step to do; the same one until its outcome is recorded."""
        return self.open_steps(limit=1)[0]

    def open_steps(self, limit: int | None = None) -> list[Step]:
        """All steps that can be done now, independent of each other; ``[Done]`` at the end.

        Proposals and measurements are open together only where ``overlapping`` is set: a model on
        the same cores would slow both down many times. The same outcomes, seconds included, decide
        the same either way.
        """
        with self._lock:
            self._advance()
            if self._reason is not None:
                return [Done(self._reason)]
            waiting = [step for step in self._batch if step.step_id not in self._outcomes]
            asked = [step for step in waiting if isinstance(step, Propose)]
            if asked and not self.overlapping:
                waiting = list(asked)
            if isinstance(waiting[0], Seal):
                self._touch()
            return list(waiting[:limit])

    def record(self, step: Step, outcome: Outcome) -> None:
        """Put the outcome of an open step on record, durably, and decide what follows.

        Figures that are not finite become the rejection ``nan_measurement``.

        Raises:
            UsageError: If the step is not open or the outcome does not answer it.
        """
        self.keep(step, outcome)
        self.settle()

    def keep(self, step: Step, outcome: Outcome) -> None:
        """The first half of :meth:`record`: on record, and nothing is decided.

        For a thread beside the one that reads what is known, which then stays as it is until that
        one calls :meth:`settle`.

        Raises:
            UsageError: As :meth:`record` does.
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
            # What is used is what was read back, so that a resumed run sees the same.
            self._outcomes[step.step_id] = outcome_from_json(event.body["outcome"])

    def seconds_for(self, step: WorkStep) -> float:
        """Seconds that a step may take before its time is needed for the end.

        Returns:
            Infinite without a limit in time; 0 where the step must not start.
        """
        with self._lock:
            kept = sum(charged_seconds(outcome) for outcome in self._outcomes.values())
            return allowance(self._script.state, step, kept)

    def settle(self) -> None:
        """Decide what follows from all that is on record."""
        with self._lock:
            self._advance()

    # What is known

    @property
    def finished(self) -> DoneReason | None:
        """Why the search is done; None while it is not. Asking opens no step."""
        return self._reason

    @property
    def ending(self) -> DoneReason | None:
        """Why nothing is designed any more; the final measurement follows. None before that."""
        return self._script.ending

    @property
    def waiting(self) -> list[WorkStep]:
        """Steps without an outcome, in order; unlike :meth:`open_steps` this opens no seal."""
        with self._lock:
            return [step for step in self._batch if step.step_id not in self._outcomes]

    @property
    def measured_now(self) -> set[str]:
        """Recipes measured by open steps side by side, on none of which is decided yet."""
        with self._lock:
            done = (step for step in self._batch if step.step_id in self._outcomes)
            return {step.recipe_id for step in done if isinstance(step, Measure)}

    @property
    def graph(self) -> Graph:
        """The reasoning graph; its ``digest`` is equal for resumed and uninterrupted runs."""
        return self._script.state.graph

    @property
    def best(self) -> Entry | None:
        """The best entry on all selection windows that beats the reference, whatever its author."""
        return self._script.archive.winner()

    @property
    def entries(self) -> list[Entry]:
        """All entries in the order in which they were made."""
        return list(self._script.archive)

    @property
    def archive(self) -> Archive:
        """All entries, and what compares them."""
        return self._script.archive

    @property
    def spent(self) -> Spent:
        """Budget used so far."""
        return self._script.state.spent

    @property
    def generation(self) -> int:
        """Generations finished."""
        return self._script.state.generation

    @property
    def touches(self) -> int:
        """How often the sealed split was opened; more than once only after a kill."""
        return self._touches

    @property
    def lessons(self) -> dict[str, Lesson]:
        """How often each lesson helped and hurt, by its alias."""
        return dict(self._script.state.lessons)

    @property
    def sentinels(self) -> list[Sentinel]:
        """What was measured again to detect drift, and how far it moved."""
        return list(self._script.sentinels.known)

    @property
    def drift(self) -> str:
        """Which sentinel moved and how far; empty while none did."""
        return self._script.sentinels.drift

    @property
    def rung_correlation(self) -> tuple[float | None, int]:
        """How alike few windows and the others rank recipes of one repair, and over how many.

        Spearman's correlation; None before three of them have both rungs.
        """
        return self._script.state.rung_correlation()

    @property
    def layer_correlation(self) -> tuple[float | None, int]:
        """How alike the error on real layers and the whole model rank masks, and over how many."""
        return self._script.state.layer_correlation()

    @property
    def forecasts(self) -> Forecasts | None:
        """How good the designer's forecasts were; None before one could be graded."""
        return graded_forecasts(self._script.archive, self.graph)

    @property
    def judging(self) -> Judging | None:
        """What was skipped unmeasured, and how good the judges are; None where nobody judges."""
        return self._script.race.jury.account

    @property
    def margins(self) -> list[Margin]:
        """How the winner compares with the runner-up and the reference; empty without one."""
        return self._script.archive.margins()

    def preview(self, operator: str | None = None, prompts: Prompts | None = None) -> list[Preview]:
        """The prompts that come next, as things stand; nobody is asked and nothing is decided.

        Args:
            operator: Only prompts of this operator, whether it would be chosen or not.
            prompts: Other templates to try.
        """
        with self._lock:
            open_now = [step for step in self._batch if isinstance(step, Propose)]
            if open_now and operator is None and prompts is None:
                return [Preview(step.operator, step.request) for step in open_now]
            return self._script.preview(operator, prompts)

    def leaderboard(self) -> list[Row]:
        """All entries, best first, rejected ones last."""
        return leaderboard(self._script.archive)

    def history(self) -> list[dict[str, Any]]:
        """Every recorded step with its outcome: prompts, answers, verdicts, figures."""
        with self._lock:
            return [event.body for event in self._log if event.kind == "outcome"]

    def close(self) -> None:
        """Let go of the folder; nothing is lost by leaving it out."""
        self._course.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside

    def _replay(self, events: list[Event]) -> None:
        recorded = {e.key: e.body for e in events if e.kind == "outcome"}
        self._judgements = {e.key: e.body for e in events if e.kind == "judgement"}
        self._touches = sum(1 for e in events if e.kind == "seal_touched")
        self._made_by = made_by(events)
        self._batch = next(self._course)
        self._advance(recorded)
        judged = self._script.race.jury.known
        others = [f"{alias}.judgement" for alias in self._judgements if alias not in judged]
        for first in (*recorded, *others):
            raise planned_otherwise(self._made_by, self._log.path.parent, first)

    def _advance(self, recorded: dict[str, dict[str, Any]] | None = None) -> None:
        """Send complete batches to the course until it waits for something unknown."""
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
                self._batch = self._course.send(outcomes)
            except StopIteration as stop:
                self._batch, self._reason = (), stop.value
            self._keep_judgements()

    def _keep_judgements(self) -> None:
        """Put on record what was judged, once; what is there already must be the same."""
        made = list(self._script.race.jury.known.items())
        for alias, judgement in made[self._judged :]:
            self._judged += 1
            body = judgement.to_json()
            known = self._judgements.setdefault(alias, body)
            if known is body:
                self._log.append("judgement", alias, body)
            elif known["decision"] != body["decision"]:
                folder = self._log.path.parent
                raise planned_otherwise(self._made_by, folder, f"{alias}.judgement")

    def _touch(self) -> None:
        """Count that the sealed split is about to be read; once for each opening of the search."""
        if getattr(self, "_touched", False):
            return
        self._touched = True
        self._touches += 1
        self._log.append("seal_touched", str(self._touches), {})
