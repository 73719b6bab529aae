"""One recorded search, or several joined, measured again from its log with a judge before it."""

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from autoprune.design.formulas import formula_text
from autoprune.recipe import Recipe
from autoprune.search import graph_notes
from autoprune.search.archive import Archive, Entry, fitness_of
from autoprune.search.evaluator import Evaluator
from autoprune.search.judging import REACH, JudgePanel
from autoprune.search.moves import recipe_key
from autoprune.search.paired import paired_difference
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import Measurement, Validation, outcome_from_json

WHOLE = 2


@dataclass(frozen=True)
class Result:
    """A recipe that a search measured on all windows."""

    alias: str
    recipe: Recipe
    found: Measurement
    validation: Validation | None


@dataclass(frozen=True)
class Run:
    """What a log holds.

    Args:
        record: Name of its record.
        spec: What was searched.
        baselines: Measured before anything was proposed.
        batches: Recipes in the order of their measurement; those of one batch are judged together.
    """

    record: str
    spec: SearchSpec
    baselines: tuple[Result, ...]
    batches: tuple[tuple[Result, ...], ...]

    @property
    def arm(self) -> str:
        """Who proposed."""
        return self.spec.arm

    @property
    def split(self) -> int:
        """Number of the text's split."""
        return self.spec.text_split

    @property
    def measured_on(self) -> str:
        """Equal where results can be compared: all that a measurement depends on."""
        spec = self.spec.to_json()
        names = ("model", "corpus", "sparsity", "pattern", "text_split", "seqlen",
                 "calibration_windows", "selection_windows", "fitness")  # fmt: skip
        return json.dumps([*(spec.get(name) for name in names), self.reference.found.nll])

    @property
    def reference(self) -> Result:
        """The baseline that differences are taken to."""
        archive = _archive(self.spec)
        entries = (Entry(r.alias, 0, "", r.recipe) for r in self.baselines)
        alias = next(entry.alias for entry in entries if archive.refers(entry))
        return next(result for result in self.baselines if result.alias == alias)


@dataclass(frozen=True)
class Trial:
    """A recipe as the replay met it.

    Args:
        alias: Its name.
        score: Difference of fitness to the reference, nats per token, whether skipped or not.
        decision: Of the judges.
        good: Whether it came within reach of the best at that time.
    """

    alias: str
    score: float
    decision: str
    good: bool


@dataclass
class Replay:
    """What came of it."""

    baselines: list[float]
    trials: list[Trial] = field(default_factory=list)
    was_used: bool = False

    @property
    def skipped(self) -> list[Trial]:
        """Measurements that were saved."""
        return [trial for trial in self.trials if trial.decision == "skip"]

    @property
    def audits(self) -> list[bool]:
        """Of those due to be skipped and drawn to be measured, whether each was good."""
        return [trial.good for trial in self.trials if trial.decision == "audit"]

    @property
    def best(self) -> float:
        """Score of the best recipe of all."""
        return min([*self.baselines, *(trial.score for trial in self.trials)])

    @property
    def best_left(self) -> float:
        """Score of the best one that was not skipped."""
        left = (trial.score for trial in self.trials if trial.decision != "skip")
        return min([*self.baselines, *left])

    def near_best(self, trial: Trial) -> bool:
        """Whether it is within reach of the best of all."""
        return trial.score <= self.best + REACH


def read_run(log: Path) -> Run:
    """Read a log from a record; measurements of few windows, as a first rung makes, are left out.

    Raises:
        SystemExit: If it holds no search.
    """
    content = log.read_bytes()
    text = (gzip.decompress(content) if log.suffix == ".gz" else content).decode("utf-8")
    events = [json.loads(line) for line in text.split("\n") if line]
    first = next((event for event in events if event["kind"] == "opened"), None)
    if first is None:
        raise SystemExit(f"{log} holds no search")
    record = log.parent.parent if log.parent.name == "logs" else log.parent
    validations: dict[str, Validation] = {}
    baselines: list[Result] = []
    batches: list[list[Result]] = [[]]
    for event in events:
        step: Mapping[str, Any] = event["body"].get("step", {})
        role, known = step.get("role"), len(batches[-1])
        if step.get("kind") == "Validate":
            seen = outcome_from_json(event["body"]["outcome"])
            if isinstance(seen, Validation):
                validations[Recipe.from_json(step["recipe"]).validated_as] = seen
        if role in ("baseline", "candidate") and step["rung"] == WHOLE and not step["known"]:
            found = outcome_from_json(event["body"]["outcome"])
            recipe = Recipe.from_json(step["recipe"])
            if isinstance(found, Measurement):
                seen_as = validations.get(recipe.validated_as)
                own = baselines if role == "baseline" else batches[-1]
                own.append(Result(step["recipe_id"], recipe, found, seen_as))
        if len(batches[-1]) == known and known:
            # Whatever else was done ends a batch.
            batches.append([])
    spec = SearchSpec.recorded(first["body"]["spec"])
    return Run(record.name, spec, tuple(baselines), tuple(map(tuple, filter(None, batches))))


def replay(runs: Sequence[Run]) -> Replay:
    """Judge and measure the recipes of searches on the same text, taking their batches in turn."""
    first = runs[0]
    spec = first.spec.model_copy(update={"judge": "on"})
    evaluator = Evaluator(SearchState(spec, _archive(spec)))
    graph_notes.note_task(evaluator.state)
    panel = JudgePanel(evaluator.state)
    made = Replay([])
    base = fitness_of(first.reference.found, spec.fitness)

    def score(result: Result) -> float:
        return paired_difference(fitness_of(result.found, spec.fitness), base).mean

    # The reference first: others are compared with it.
    for result in sorted(first.baselines, key=lambda one: one is not first.reference):
        _measure(evaluator, _entry(evaluator, result, result.alias, 0), result)
        made.baselines.append(score(result))
    seen = {recipe_key(result.recipe) for result in first.baselines}
    for number, batch in _in_turn(runs):
        new = {recipe_key(result.recipe): result for result in reversed(batch)}
        fresh = [r for r in batch if new[recipe_key(r.recipe)] is r]
        fresh = [result for result in fresh if recipe_key(result.recipe) not in seen]
        seen |= new.keys()
        entries: list[Entry] = []
        for result in fresh:
            alias = result.alias if len(runs) == 1 else f"S{number}.{result.alias}"
            order = len(made.trials) + len(entries) + 1
            entries.append(_entry(evaluator, result, alias, order))
        admitted = {entry.alias for entry in panel.admitted(entries)}
        for entry, result in zip(entries, fresh, strict=True):
            if entry.alias in admitted:
                _measure(evaluator, entry, result)
            judgement = panel.known.get(entry.alias)
            line = math.inf if judgement is None else judgement.line
            decision = "measure" if judgement is None else judgement.decision
            made.was_used |= judgement is not None and bool(judgement.used)
            own = score(result)
            made.trials.append(Trial(entry.alias, own, decision, own <= line))
    return made


def _in_turn(runs: Sequence[Run]) -> Iterator[tuple[int, tuple[Result, ...]]]:
    """Number of a search, from 1, and its next batch."""
    for batches in zip_longest(*(run.batches for run in runs)):
        for number, batch in enumerate(batches, 1):
            if batch is not None:
                yield number, batch


def _archive(spec: SearchSpec) -> Archive:
    return Archive(spec.reference, spec.proxy, spec.fitness)


def _entry(evaluator: Evaluator, result: Result, alias: str, order: int) -> Entry:
    entry = Entry(alias, order, "recorded", result.recipe, formula_text(result.recipe.metric))
    entry.validation, entry.status = result.validation, "valid"
    graph_notes.note_proposal(evaluator.state, evaluator.archive.add(entry))
    return entry


def _measure(evaluator: Evaluator, entry: Entry, result: Result) -> None:
    evaluator.accept(entry, WHOLE, result.found)
    evaluator.note(entry, WHOLE)
