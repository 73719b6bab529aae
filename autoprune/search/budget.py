"""When a search stops: before a generation that would not fit into what is left."""

import math

from autoprune.search.state import State
from autoprune.search.steps import DoneReason

# What one answer of a designer takes before any was measured, in seconds.
ASSUMED_ANSWER_SECONDS = 5.0
SEALED_DESIGNS = 1
# A quoted answer and the complaint about it, at most.
REPAIR_TOKENS = 350
# A draw of calibration text costs its statistics and the reference as well.
DRAW_WHOLES = 3.0


def reason_to_stop(state: State) -> DoneReason | None:
    """Why no further generation starts, or None when the next one is expected to fit."""
    budget, spent = state.spec.budget, state.spent
    if spent.candidates >= budget.candidates:
        return "candidates"
    if state.uses_designer and answers_left(state) < 1:
        return "tokens"
    # The first generation always starts: on a slow machine too, a search designs something.
    if budget.seconds is not None and state.generation > 0:
        generation = state.check_seconds + _expected_seconds(state)
        needed = spent.seconds + generation + reserve_seconds(state)
        if needed > budget.seconds:
            return "seconds"
    return None


def reserve_seconds(state: State) -> float:
    """What the end is expected to take: draws of calibration, sentinels, sealed measurement."""
    made = [e for e in state.archive if e.is_baseline and e.status == "measured"]
    recipes = [e.recipe for e in made if e.recipe is not None]
    best = state.archive.best()
    winner = best.recipe if best is not None else None
    recipes += [winner] * SEALED_DESIGNS if winner is not None else []
    costs = state.costs
    total = state.check_seconds + sum(costs.sealed(recipe) for recipe in recipes)
    if winner is not None:
        draws = state.spec.calibration_draws - 1
        total += draws * (costs.whole(winner) + DRAW_WHOLES * costs.plain())
    return total


def answers_left(state: State, *, repair: bool = False) -> float:
    """How many answers the token budget still pays for, at their largest; infinite without one.

    Args:
        state: What is spent.
        repair: The answers are to prompts that quote a failed one.
    """
    limit, designer = state.spec.budget.tokens, state.spec.designer
    if limit is None:
        return math.inf
    largest = designer.prompt_tokens + designer.max_tokens + repair * REPAIR_TOKENS
    return (limit - state.spent.tokens) // largest


def _expected_seconds(state: State) -> float:
    if state.per_generation:
        recent = state.per_generation[-3:]
        return sum(spent.seconds for spent in recent) / len(recent)
    spec, costs = state.spec, state.costs
    answers = ASSUMED_ANSWER_SECONDS * spec.slots if state.uses_designer else 0.0
    few = spec.slots * costs.cheap(spec.rung_windows)
    return answers + few + math.ceil(spec.slots * spec.promote) * costs.plain()
