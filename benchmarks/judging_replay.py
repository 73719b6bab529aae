"""One recorded search, or several joined, measured again from its log with a judge before it."""

import gzip
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from autoprune.design.formulas import formula_text
from autoprune.design.parsing import Prediction
from autoprune.recipe import Recipe
from autoprune.search import graph_notes
from autoprune.search.archive import Archive, Entry, fitness_of
from autoprune.search.evaluator import Evaluator
from autoprune.search.forecasts import LEAST
from autoprune.search.judging import REACH, JudgePanel
from autoprune.search.moves import recipe_key
from autoprune.search.paired import paired_difference
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import Measurement, Validation, outcome_from_json
from autoprune.search_settings import SILENT_ARMS

WHOLE = 2


@dataclass(frozen=True)
class Result:
    """A recipe that a search measured on all windows."""

    alias: str
    recipe: Recipe
    found: Measurement
    validation: Validation | None


@dataclass(frozen=True)
class Answer:
    """What a designer's answer says of its recipe.

    Args:
        because: The reason.
        prediction: The forecast; its ``versus`` is an entry with results of its own.
        trust: A verifier's score of the reason.
    """

    because: str
    prediction: Prediction | None
    trust: float | None = None


@dataclass(frozen=True)
class Run:
    """What a log holds.

    Args:
        record: Name of its record.
        spec: What was searched.
        baselines: Measured before anything was proposed.
        batches: Recipes in the order of their measurement; those of one batch are judged together.
        answers: What a designer gave for them, by alias; empty: reasons and forecasts stay out.
    """

    record: str
    spec: SearchSpec
    baselines: tuple[Result, ...]
    batches: tuple[tuple[Result, ...], ...]
    answers: Mapping[str, Answer] = field(default_factory=dict)

    @property
    def arm(self) -> str:
        """Who proposed."""
        return self.spec.arm

    @property
    def split(self) -> int:
        """Number of the text's split."""
        return self.spec.text_split

    @property
    def asked(self) -> bool:
        """Whether a language model was asked for recipes."""
        return self.spec.arm not in SILENT_ARMS

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
        chances: What each judge with an opinion gave as the probability of that.
        trust: A verifier's score of its reason.
        stated: The difference to the reference that its answer forecast, nats per token.
    """

    alias: str
    score: float
    decision: str
    good: bool
    chances: Mapping[str, float] = field(default_factory=dict)
    trust: float | None = None
    stated: float | None = None


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


def joined(runs: Sequence[Run]) -> list[list[Run]]:
    """Searches that measured on the same text, together; a search alone on its own is left out."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.measured_on, []).append(run)
    return [own for own in groups.values() if len(own) > 1]


def decisions(replays: Sequence[Replay]) -> dict[str, int]:
    """What was decided over replays, and what it cost, as counts."""
    skipped = [trial for one in replays for trial in one.skipped]
    audits = [good for one in replays for good in one.audits]
    return {
        "measurements": sum(len(one.trials) for one in replays),
        "used_in": sum(one.was_used for one in replays),
        "skipped": len(skipped),
        "skipped_good": sum(trial.good for trial in skipped),
        "audited": len(audits),
        "audits_good": sum(audits),
        "best_skipped": sum(one.best_left > one.best for one in replays),
    }


def events_of(log: Path) -> list[dict[str, Any]]:
    """Events of a log from a record, oldest first."""
    content = log.read_bytes()
    text = (gzip.decompress(content) if log.suffix == ".gz" else content).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def read_run(log: Path) -> Run:
    """Read a log from a record; measurements of few windows, as a first rung makes, are left out.

    Raises:
        SystemExit: If it holds no search.
    """
    events = events_of(log)
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


def replay(runs: Sequence[Run], asked: Collection[str] | None = None) -> Replay:
    """Judge and measure the recipes of searches on the same text, taking their batches in turn.

    Args:
        runs: Searches.
        asked: Names of the judges; None: all.
    """
    first = runs[0]
    spec = first.spec.model_copy(update={"judge": "on"})
    evaluator = Evaluator(SearchState(spec, _archive(spec)))
    graph_notes.note_task(evaluator.state)
    panel = JudgePanel(evaluator.state, asked)
    made = Replay([])
    base = fitness_of(first.reference.found, spec.fitness)
    names: dict[str, str] = {}
    scores: dict[str, float] = {}

    def placed(result: Result, alias: str) -> float:
        names[recipe_key(result.recipe)] = alias
        difference = paired_difference(fitness_of(result.found, spec.fitness), base)
        return scores.setdefault(alias, difference.mean)

    # The reference first: others are compared with it.
    for result in sorted(first.baselines, key=lambda one: one is not first.reference):
        _measure(evaluator, _entry(evaluator, result, result.alias, 0), result)
        made.baselines.append(placed(result, result.alias))
    for number, batch in _in_turn(runs):
        new = {recipe_key(result.recipe): result for result in reversed(batch)}
        fresh = [r for r in batch if new[recipe_key(r.recipe)] is r]
        fresh = [result for result in fresh if recipe_key(result.recipe) not in names]
        entries: list[Entry] = []
        answers = [_answer(runs[number - 1], result, names) for result in fresh]
        for result, answer in zip(fresh, answers, strict=True):
            alias = result.alias if len(runs) == 1 else f"S{number}.{result.alias}"
            order = len(made.trials) + len(entries) + 1
            entries.append(_entry(evaluator, result, alias, order, answer))
        admitted = {entry.alias for entry in panel.admitted(entries)}
        for entry, result in zip(entries, fresh, strict=True):
            if entry.alias in admitted:
                _measure(evaluator, entry, result)
            judgement = panel.known.get(entry.alias)
            line = math.inf if judgement is None else judgement.line
            decision = "measure" if judgement is None else judgement.decision
            forecasts = {} if judgement is None else judgement.forecasts
            made.was_used |= judgement is not None and bool(judgement.used)
            own = placed(result, entry.alias)
            chances = {name: found.below(line) for name, found in forecasts.items()}
            stated = _stated(entry, scores)
            trial = Trial(entry.alias, own, decision, own <= line, chances, entry.trust, stated)
            made.trials.append(trial)
    return made


def _answer(run: Run, result: Result, names: Mapping[str, str]) -> Answer | None:
    """What a designer gave for a recipe; its forecast against an entry of the replay, or none."""
    answer = run.answers.get(result.alias)
    if answer is None or answer.prediction is None:
        return answer
    own = {r.alias: recipe_key(r.recipe) for r in (*run.baselines, *chain(*run.batches))}
    versus = names.get(own.get(answer.prediction.versus, ""))
    prediction = None if versus is None else replace(answer.prediction, versus=versus)
    return replace(answer, prediction=prediction)


def _stated(entry: Entry, scores: Mapping[str, float]) -> float | None:
    prediction = entry.prediction
    if prediction is None or prediction.change is None:
        return None
    return scores[prediction.versus] + math.log1p(max(prediction.change, LEAST))


def _in_turn(runs: Sequence[Run]) -> Iterator[tuple[int, tuple[Result, ...]]]:
    """Number of a search, from 1, and its next batch."""
    for batches in zip_longest(*(run.batches for run in runs)):
        for number, batch in enumerate(batches, 1):
            if batch is not None:
                yield number, batch


def _archive(spec: SearchSpec) -> Archive:
    return Archive(spec.reference, spec.proxy, spec.fitness)


def _entry(
    evaluator: Evaluator, result: Result, alias: str, order: int, answer: Answer | None = None
) -> Entry:
    entry = Entry(alias, order, "recorded", result.recipe, formula_text(result.recipe.metric))
    entry.validation, entry.status = result.validation, "valid"
    if answer is not None:
        entry.because, entry.prediction = answer.because, answer.prediction
        entry.trust = answer.trust
    graph_notes.note_proposal(evaluator.state, evaluator.archive.add(entry))
    return entry


def _measure(evaluator: Evaluator, entry: Entry, result: Result) -> None:
    evaluator.accept(entry, WHOLE, result.found)
    evaluator.note(entry, WHOLE)
