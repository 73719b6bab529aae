"""The vocabulary between a search and its driver: the search asks, the driver answers.

A driver is a loop: take :meth:`Search.open_steps`, do each, give its outcome to
:meth:`Search.keep`, and let :meth:`Search.settle` decide what follows, until the step is
:class:`Done`. Steps are plain values; the same recorded outcomes always lead to the same steps.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from autoprune.bench.outcomes import Measurement as Measurement
from autoprune.bench.outcomes import Validation as Validation
from autoprune.design.chat import ChatRequest, Reply, Usage
from autoprune.recipe import Recipe

Role = Literal["candidate", "baseline", "sentinel", "repeat", "spread"]
DoneReason = Literal[
    "candidates",
    "evaluations",
    "tokens",
    "seconds",
    "money",
    "exhausted",
    "drift",
    "no_baseline",
]


@dataclass(frozen=True)
class Propose:
    """Ask the designer; answer with :class:`Reply`, or :class:`Failed` if it gave none."""

    step_id: str
    generation: int
    slot: int
    operator: str
    request: ChatRequest


@dataclass(frozen=True)
class Validate:
    """Run the metric in the sandbox: probe, then real layers; answer with :class:`Validation`.

    Issued once for each (metric, group). Built-in metrics are included, since their signature
    shows which candidate merely rediscovers one; they need no sandbox.

    Args:
        share: Share of the blocks' parameters by which a scheme reached a budget in speed before;
            None: not known.
    """

    step_id: str
    generation: int
    slot: int
    recipe_id: str
    recipe: Recipe
    share: float | None = None


@dataclass(frozen=True)
class Measure:
    """Prune the whole model and measure; answer with :class:`Measurement` or :class:`Failed`.

    Args:
        recipe: None: the dense model, as it stands between two recipes.
        rung: 1: few windows; 2: all selection windows.
        windows: Use the first ``windows`` of the selection split, always in the same order.
        known: Skip this many of the first ones, which are on record already.
        sparsity: Share of zeros.
        role: ``candidate``, ``baseline``, ``sentinel`` (measured again to detect drift), ``repeat``
            (the recipe to be sealed, repair included, from scratch; the result is then sealed),
            or ``spread`` (the same recipe under other conditions).
        draw: Which draw of calibration text the statistics come from.
        kl: Also measure the distance to the dense model.
        calibration: Prune with this many of the first calibration windows; None: with all.
    """

    step_id: str
    generation: int
    slot: int
    recipe_id: str
    recipe: Recipe | None
    rung: int
    windows: int
    sparsity: float
    role: Role = "candidate"
    draw: int = 0
    kl: bool = False
    known: int = 0
    calibration: int | None = None


@dataclass(frozen=True)
class Seal:
    """Measure the winner and the baselines on the sealed split; answer with :class:`Sealed`.

    Args:
        recipes: Recipe id and recipe, the winner first.
        windows: Number of sealed windows.
        sparsity: Share of zeros; for schemes at a budget in bytes or speed, the share of each, by
            recipe id.
    """

    step_id: str
    recipes: tuple[tuple[str, Recipe], ...]
    windows: int
    sparsity: float | Mapping[str, float]

    def share_of(self, recipe_id: str) -> float:
        """Share that a recipe is measured at."""
        shares = self.sparsity
        return shares[recipe_id] if isinstance(shares, Mapping) else shares


@dataclass(frozen=True)
class Done:
    """Nothing is left to do."""

    reason: DoneReason


Step = Propose | Validate | Measure | Seal | Done
WorkStep = Propose | Validate | Measure | Seal


@dataclass(frozen=True)
class Failed:
    """A step that gave no result: a verdict, never a number.

    Args:
        waited: For a question, as in :class:`Reply`.
    """

    code: str
    detail: str = ""
    seconds: float = 0.0
    waited: float | None = None


@dataclass(frozen=True)
class Sealed:
    """Sealed measurements by recipe id.

    Args:
        failures: Why a recipe has no measurement, by recipe id.
    """

    measurements: Mapping[str, Measurement]
    seconds: float = 0.0
    failures: Mapping[str, Failed] = field(default_factory=dict)


Outcome = Reply | Validation | Measurement | Sealed | Failed

Batch = Sequence[WorkStep]
Outcomes = Mapping[str, Outcome]
# Yields batches of independent steps and is sent their outcomes by step id.
StepGenerator = Generator[Batch, Outcomes, None]


def charged_seconds(outcome: Outcome) -> float:
    """Search seconds of an outcome; for an answer, only those in which nothing else was done."""
    waited = outcome.waited if isinstance(outcome, Reply | Failed) else None
    return outcome.seconds if waited is None else waited


def together(first: StepGenerator, second: StepGenerator) -> StepGenerator:
    """Run two generators concurrently, merging the steps that both want now into one batch.

    Which of them decides first is fixed, regardless of the order in which outcomes arrive.
    """
    waiting: list[tuple[StepGenerator, Batch]] = []
    for generator in (first, second):
        with suppress(StopIteration):
            waiting.append((generator, next(generator)))
    while waiting:
        outcomes = yield [step for _, batch in waiting for step in batch]
        after: list[tuple[StepGenerator, Batch]] = []
        for generator, batch in waiting:
            own = {step.step_id: outcomes[step.step_id] for step in batch}
            with suppress(StopIteration):
                after.append((generator, generator.send(own)))
        waiting = after


def is_finite(measurement: Measurement) -> bool:
    """Whether every figure of the measurement is a finite number."""
    figures = (measurement.perplexity, measurement.sparsity, *measurement.nll, *measurement.kl)
    return bool(measurement.nll) and all(math.isfinite(figure) for figure in figures)


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Plain JSON form with the outcome's kind."""
    body = {"kind": type(outcome).__name__, **asdict(outcome)}
    if isinstance(outcome, Validation) and not outcome.budget:
        # Logs from before this field existed do not have it.
        del body["budget"]
    return body


def outcome_from_json(value: Mapping[str, Any]) -> Outcome:
    """Inverse of :func:`outcome_to_json`."""
    body = {key: item for key, item in value.items() if key != "kind"}
    match value["kind"]:
        case "Reply":
            return Reply(**{**body, "usage": Usage(**body["usage"])})
        case "Validation":
            return Validation(**body)
        case "Measurement":
            return _measurement(body)
        case "Sealed":
            found = {key: _measurement(item) for key, item in body["measurements"].items()}
            # Logs of earlier versions have no failures.
            failed = {key: Failed(**item) for key, item in body.get("failures", {}).items()}
            return Sealed(found, body["seconds"], failed)
        case "Failed":
            return Failed(**body)
        case other:
            raise ValueError(f"unknown outcome kind {other!r}")


def _measurement(body: Mapping[str, Any]) -> Measurement:
    lists = {"nll": tuple(body["nll"]), "kl": tuple(body.get("kl", ()))}
    return Measurement(**{**body, **lists})


def step_to_json(step: WorkStep) -> dict[str, Any]:
    """Plain JSON form of a step, for the record."""
    body: dict[str, Any] = {"kind": type(step).__name__, "step_id": step.step_id}
    match step:
        case Propose():
            body |= {"operator": step.operator, "request": step.request.to_json()}
        case Validate():
            body |= {"recipe_id": step.recipe_id, "recipe": step.recipe.to_json()}
        case Measure():
            recipe = step.recipe.to_json() if step.recipe is not None else None
            body |= {"recipe_id": step.recipe_id, "recipe": recipe}
            body |= {"rung": step.rung, "windows": step.windows, "sparsity": step.sparsity}
            body |= {"role": step.role, "draw": step.draw, "kl": step.kl, "known": step.known}
            body |= {} if step.calibration is None else {"calibration": step.calibration}
        case Seal():
            body |= {"recipe_ids": [recipe_id for recipe_id, _ in step.recipes]}
            body |= {"windows": step.windows, "sparsity": step.sparsity}
    return body
