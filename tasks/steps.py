"""Which task does a step of a search, and with what: the same here, on a worker, in a benchmark."""

from typing import Any

from autoprune.search.steps import Measure, Outcome, Seal, Validate, outcome_from_json
from tasks.measure import measure, seal
from tasks.policies import Step
from tasks.validate import validate

Work = Validate | Measure | Seal
TASKS: dict[str, Step[..., dict[str, Any]]] = {
    "validate": validate,
    "measure": measure,
    "seal": seal,
}


def call_of(step: Work) -> tuple[str, str, list[Any]]:
    """Name of the task in :data:`TASKS`, the step's id, and the further arguments, all plain."""
    match step:
        case Validate():
            return "validate", step.step_id, [step.recipe.to_json()]
        case Measure():
            where = [step.windows, step.sparsity, step.draw, step.kl, step.known]
            # Remembered masks would hide what these are there to see.
            where.append(step.role in ("sentinel", "repeat"))
            # What is repeated is sealed next.
            where.append(step.role == "repeat")
            recipe = step.recipe.to_json() if step.recipe is not None else None
            return "measure", step.step_id, [recipe, *where]
        case Seal():
            recipes = [(name, recipe.to_json()) for name, recipe in step.recipes]
            return "seal", step.step_id, [recipes, step.windows, step.sparsity]


def do(bench_id: str, step: Work) -> Outcome:
    """Validate, measure or seal in this process.

    Args:
        bench_id: Id of an open search workbench.
        step: What the search wants.
    """
    name, step_id, arguments = call_of(step)
    return outcome_from_json(TASKS[name](bench_id, step_id, *arguments))
