"""Where a step of a search runs: in this process on its bench, or in another, as plain JSON."""

import math
from collections.abc import Callable
from typing import Any

from autoprune.bench.outcomes import Validation
from autoprune.search.steps import Measure, Outcome, Seal, Validate, Verify
from tasks.measure import measure, measured, no_time, sealed
from tasks.recorded import recorded
from tasks.search_bench import SearchBench
from tasks.validate import validate
from tasks.verify import verified

Work = Validate | Verify | Measure | Seal


def _validated(bench: SearchBench, wanted: Validate, seconds: float = math.inf) -> Validation:
    known = wanted.share
    return bench.validate(wanted.recipe, bench.budget if known is None else bench.budget_of(known))


# Functions that do a step in this process, by the kind that groups task runs.
WORK: dict[str, Callable[[SearchBench, Any, float], Outcome]] = {
    "validate": _validated,
    "verify": verified,
    "measure": measured,
    "seal": sealed,
}
# The same for a worker. Only the run's own process looks at sealed text.
TASKS: dict[str, Callable[..., dict[str, Any]]] = {"validate": validate, "measure": measure}


def do(bench: SearchBench, step: Work, seconds: float = math.inf) -> Outcome:
    """Validate, verify, measure or seal in this process.

    Args:
        bench: The search's.
        step: What the search wants.
        seconds: Time limit, if it can be stopped; 0 or less: it does not start.
    """
    kind = type(step).__name__.lower()
    if seconds <= 0.0 and not isinstance(step, Seal):
        return no_time()
    return recorded(kind, f"{kind} {step.step_id}", lambda: WORK[kind](bench, step, seconds))


def call_of(step: Validate | Measure, seconds: float = math.inf) -> tuple[str, str, list[Any]]:
    """Name of the task in :data:`TASKS`, the step's id, and its other arguments, all plain."""
    recipe = None if step.recipe is None else step.recipe.to_json()
    if isinstance(step, Validate):
        return "validate", step.step_id, [recipe]
    where = [step.windows, step.sparsity, step.draw, step.kl, step.known, step.role]
    limit = None if math.isinf(seconds) else seconds
    return "measure", step.step_id, [recipe, *where, limit, step.calibration]
