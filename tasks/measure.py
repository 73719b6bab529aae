"""A step that a worker measures or validates in its own process: plain JSON in and out."""

import math
from collections.abc import Callable
from typing import Any

from autoprune.recipe import Recipe
from autoprune.search.steps import Measure, Validate, outcome_to_json
from tasks.search_bench import SearchBench
from tasks.steps import measured


def call_of(step: Validate | Measure, seconds: float = math.inf) -> tuple[str, str, list[Any]]:
    """Name of the task in :data:`TASKS`, the step's id, and its other arguments, all plain."""
    recipe = None if step.recipe is None else step.recipe.to_json()
    if isinstance(step, Validate):
        return "validate", step.step_id, [recipe]
    where = [step.windows, step.sparsity, step.draw, step.kl, step.known, step.role]
    limit = None if math.isinf(seconds) else seconds
    return "measure", step.step_id, [recipe, *where, limit, step.calibration]


def validate(bench: SearchBench, step_id: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """:meth:`autoprune.bench.bench.Bench.validate`, with plain JSON in and out."""
    return outcome_to_json(bench.validate(Recipe.from_json(recipe), bench.budget))


def measure(
    bench: SearchBench,
    step_id: str,
    recipe: dict[str, Any] | None,
    windows: int,
    sparsity: float,
    draw: int = 0,
    kl: bool = False,
    known: int = 0,
    role: Any = "candidate",
    seconds: float | None = None,
    calibration: int | None = None,
) -> dict[str, Any]:
    """:func:`tasks.steps.measured`, with plain JSON in and out."""
    read = None if recipe is None else Recipe.from_json(recipe)
    made = Measure(
        step_id, 0, 0, "", read, 1, windows, sparsity, role, draw, kl, known, calibration
    )
    limit = math.inf if seconds is None else seconds
    return outcome_to_json(measured(bench, made, limit))


# What a worker does, by name. Only the run's own process looks at sealed text.
TASKS: dict[str, Callable[..., dict[str, Any]]] = {"validate": validate, "measure": measure}
