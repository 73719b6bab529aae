"""When a search stops: before a generation that would not fit into what is left."""

import math

from autoprune.recipe import Recipe
from autoprune.search.state import State
from autoprune.search.steps import DoneReason

# A quoted answer and the complaint about it, at most.
REPAIR_TOKENS = 350
# A draw of calibration text costs its statistics and the reference as well.
DRAW_WHOLES = 3.0
# Seconds of an answer before there was any: a model of 1.5 billion weights on two cores.
ASSUMED_ANSWER = 8.0


def reason_to_stop(state: State) -> DoneReason | None:
    """Why no further generation starts, or None when the next one is expected to fit."""
    budget, spent = state.spec.budget, state.spent
    if spent.candidates >= budget.candidates:
        return "candidates"
    if evaluations_left(state) < 1:
        return "evaluations"
    if state.uses_designer:
        for limit, left in _answers_left(state).items():
            if left < 1:
                return limit
    # The first generation always starts: on a slow machine too, a search designs something.
    if budget.seconds is not None and state.generation > 0:
        generation = state.check_seconds + _least_seconds(state)
        needed = spent.seconds + generation + reserve_seconds(state)
        if needed > budget.seconds:
            return "seconds"
    return None


def evaluations_left(state: State) -> float:
    """Candidates that may still be measured on all windows; infinite without a limit."""
    limit = state.spec.budget.evaluations
    return math.inf if limit is None else limit - state.spent.evaluations


def left_in_words(state: State) -> str:
    """What is left of the budget, for prompts: counts that a resumed search has alike."""
    budget, spent = state.spec.budget, state.spent
    if budget.evaluations is not None:
        return f"{budget.evaluations - spent.evaluations} of {budget.evaluations} measurements"
    return f"{budget.candidates - spent.candidates} of {budget.candidates} recipes"


def reserve_seconds(state: State, winner: Recipe | None = None) -> float:
    """What the end is expected to take: draws of calibration, sentinels, sealed measurement.

    The winner's repair counts once: it is pruned anew before the seal, and what that leaves is
    sealed.

    Args:
        state: What is known.
        winner: As if this recipe won; None: the best so far.
    """
    archive, costs = state.archive, state.costs
    best, designed = archive.best(), archive.best(designed=True)
    sealed = {e.alias: e for e in archive if e.is_baseline and e.status == "measured"}
    if winner is None:
        sealed |= {e.alias: e for e in (best, designed) if e is not None}
        winner = best.recipe if best is not None else None
        total = 0.0
    else:
        total = costs.sealed(winner)
    total += sum(costs.sealed(e.recipe) for e in sealed.values() if e.recipe is not None)
    total += state.check_seconds
    if winner is not None:
        draws = state.spec.calibration_draws - 1
        total += draws * (costs.whole(winner) + DRAW_WHOLES * costs.plain())
    return total


def seconds_left(state: State) -> float:
    """Seconds until the time is needed for the end; infinite without a limit."""
    limit = state.spec.budget.seconds
    if limit is None:
        return math.inf
    return limit - state.spent.seconds - reserve_seconds(state)


class Purse:
    """Seconds for whole measurements until the time is needed for the end.

    A dearer winner makes the end dearer: it is pruned from every draw and measured sealed.

    Args:
        state: What is known.
        seconds: Left beside what the end takes with the best so far.
    """

    def __init__(self, state: State, seconds: float) -> None:
        self.state = state
        self.seconds = seconds
        self._end = reserve_seconds(state)

    def pays(self, recipe: Recipe) -> bool:
        """Whether a recipe can be measured, and win; what it takes is then taken away."""
        end = max(self._end, reserve_seconds(self.state, recipe))
        cost = self.state.costs.whole(recipe) + end - self._end
        if cost > self.seconds:
            return False
        self.seconds -= cost
        self._end = end
        return True


def answers_left(state: State, *, repair: bool = False) -> float:
    """How many answers tokens and money still pay for, at their largest; infinite without limits.

    Args:
        state: What is spent.
        repair: The answers are to prompts that quote a failed one.
    """
    return min(_answers_left(state, repair).values(), default=math.inf)


def _answers_left(state: State, repair: bool = False) -> dict[DoneReason, float]:
    budget, designer = state.spec.budget, state.spec.designer
    prompt = designer.prompt_tokens + repair * REPAIR_TOKENS
    left: dict[DoneReason, float] = {}
    if budget.tokens is not None:
        left["tokens"] = (budget.tokens - state.spent.tokens) // (prompt + designer.max_tokens)
    if budget.money is not None:
        dearest = budget.cost(prompt, designer.max_tokens)
        left["money"] = (budget.money - state.spent.money) // dearest
    return left


def answer_seconds(state: State, questions: int) -> float:
    """What answers are expected to take, as those of the generations before did."""
    if not questions or not state.spec.designer.is_timed:
        return 0.0
    if not state.generation:
        return questions * ASSUMED_ANSWER
    return state.asking_seconds / state.generation


def _least_seconds(state: State) -> float:
    """Seconds of a generation that measures one recipe whole, and that one without repair.

    More is measured only where it fits, see :class:`Purse`.
    """
    costs = state.costs
    answers = answer_seconds(state, state.spec.slots)
    return answers + state.spec.slots * costs.cheap(state.rung_windows) + costs.plain()
