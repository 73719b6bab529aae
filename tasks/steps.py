"""Does a step of a search on its bench, in this process: validate, measure, seal."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.outcomes import Measurement, Validation
from autoprune.bench.scoring import CandidateRejectedError
from autoprune.bench.text import SEALED
from autoprune.bench.time_limit import limited
from autoprune.budget import Budget
from autoprune.errors import (
    LONGEST_DETAIL,
    DamagedStatisticsError,
    OutOfTimeError,
    UsageError,
    reason_of,
)
from autoprune.names import alias_of
from autoprune.recipe import Recipe
from autoprune.search.deadline import UNFINISHED
from autoprune.search.steps import (
    Failed,
    Measure,
    Outcome,
    Seal,
    Sealed,
    Validate,
)
from tasks.recorded import recorded
from tasks.search_bench import SearchBench


def do(bench: SearchBench, step: Validate | Measure | Seal, seconds: float = math.inf) -> Outcome:
    """Validate, measure or seal."""
    kind = type(step).__name__.lower()
    if seconds <= 0.0 and not isinstance(step, Seal):
        return no_time()
    return recorded(kind, f"{kind} {step.step_id}", WORK[kind])(bench, step, seconds)


def validated(bench: SearchBench, wanted: Validate, seconds: float = math.inf) -> Validation:
    """Probe a recipe's designed code and score a few real layers."""
    known = wanted.share
    return bench.validate(wanted.recipe, bench.budget if known is None else bench.budget_of(known))


def measured(
    bench: SearchBench, wanted: Measure, seconds: float = math.inf
) -> Measurement | Failed:
    """Prune by a recipe, measure on selection windows, restore the dense weights.

    Sentinels, and recipes to be sealed next, compute masks and repair again, whatever is remembered
    of the recipe. This reveals drift in scores, budgets and repairs; statistics that differ from
    those in the store are then a failure.
    """
    # No pattern has the dense model's share.
    budget = Budget(0.0) if wanted.recipe is None else bench.budget_of(wanted.sparsity)
    fresh = wanted.role in ("sentinel", "repeat")
    memory = MaskMemory() if fresh else bench.masks

    def work() -> Measurement:
        if fresh and wanted.recipe is not None:
            bench.statistics_of(wanted.draw).verify()
        with bench.unrounded() if wanted.role == "sentinel" else nullcontext():
            found = bench.measure(
                wanted.recipe,
                budget,
                slice(0 if wanted.recipe is None else wanted.known, wanted.windows),
                draw=wanted.draw,
                kl=wanted.kl,
                memory=memory,
                calibration=wanted.calibration,
            )
        if wanted.role == "repeat":
            bench.masks.adopt(memory)
        return found

    return _tried(work, bench, seconds)


def sealed(bench: SearchBench, wanted: Seal, seconds: float = math.inf) -> Sealed:
    """Measure winner and baselines on the sealed text; :func:`tasks.prepare.note_look` comes first.

    A recipe that cannot be measured is left out with the reason: an error would end the search, and
    each time it resumed the others would read the sealed text once more.
    """
    started = time.monotonic()
    found: dict[str, Measurement] = {}
    failures: dict[str, Failed] = {}
    for recipe_id, recipe in wanted.recipes:
        budget = bench.budget_of(wanted.share_of(recipe_id))

        def work(recipe: Recipe = recipe, budget: Budget = budget) -> Measurement:
            return bench.measure(recipe, budget, slice(wanted.windows), SEALED)

        mandatory = recipe_id in (wanted.recipes[0][0], alias_of(bench.spec.reference))
        left = math.inf if mandatory else seconds - (time.monotonic() - started)
        outcome = no_time() if left <= 0.0 else _tried(work, bench, left)
        if isinstance(outcome, Failed):
            failures[recipe_id] = outcome
        else:
            found[recipe_id] = outcome
    return Sealed(found, time.monotonic() - started, failures)


def no_time() -> Failed:
    """Outcome of a step that does not start because it could not finish in time."""
    return Failed(UNFINISHED, "not started: it could not have ended in time")


def _tried(
    work: Callable[[], Measurement], bench: SearchBench, seconds: float
) -> Measurement | Failed:
    """Result of a measurement; for a recipe that is rejected or makes no sense, a verdict."""
    started = time.monotonic()
    try:
        with limited(bench, seconds):
            return work()
    except OutOfTimeError as error:
        return Failed(UNFINISHED, str(error), time.monotonic() - started)
    except CandidateRejectedError as error:
        return Failed(error.code, error.detail[:LONGEST_DETAIL], time.monotonic() - started)
    except (UsageError, DamagedStatisticsError) as error:
        code = "invalid" if isinstance(error, UsageError) else "statistics"
        return Failed(code, reason_of(error, LONGEST_DETAIL), time.monotonic() - started)


# Functions that do a step, by the kind that groups task runs.
WORK: dict[str, Callable[[SearchBench, Any, float], Outcome]] = {
    "validate": validated,
    "measure": measured,
    "seal": sealed,
}
