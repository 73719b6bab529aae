"""When a search stops: before a generation that would not fit into the remaining budget."""

import math

from autoprune.recipe import Recipe
from autoprune.search.state import SearchState
from autoprune.search.steps import DoneReason

# Maximum tokens of a quoted answer and the complaint about it.
REPAIR_TOKENS, REPAIR_TOKENS_PROGRAM = 350, 2000
# A draw of calibration text also costs its statistics and the reference.
DRAW_WHOLES = 3.0
# Assumed seconds per answer before the first: a model of 1.5 billion weights on two cores.
ASSUMED_ANSWER = 8.0


def reason_to_stop(state: SearchState) -> DoneReason | None:
    """Return why no further generation starts, or None if the next one is expected to fit."""
    budget, spent = state.spec.budget, state.spent
    if spent.candidates >= budget.candidates:
        return "candidates"
    if evaluations_left(state) < 1:
        return "evaluations"
    if state.uses_designer:
        for limit, left in _answers_left(state).items():
            if left < 1:
                return limit
    # The first generation takes as many slots as fit; a later one starts whole or not at all.
    if slots_in_time(state) < (state.spec.slots if state.generation else 1):
        return "seconds"
    return None


def slots_in_time(state: SearchState) -> float:
    """Number of slots of a generation that fit into the time left; infinite without a limit.

    One of the recipes is assumed to be measured on all windows, without repair; more are only if
    they fit, see :class:`TimeBudget`.
    """
    left = seconds_left(state)
    if math.isinf(left):
        return left
    costs, slots = state.costs, state.spec.slots
    each = answer_seconds(state, slots) / slots + costs.designed(state.rung_windows)
    spare = left - state.check_seconds - costs.designed(state.spec.selection_windows)
    # The sums of what is left and what is needed are rounded differently.
    return math.floor(spare / each + 1e-9) if each else math.inf if spare >= 0.0 else 0.0


def evaluations_left(state: SearchState) -> float:
    """Candidates that may still be measured on all windows; infinite without a limit."""
    limit = state.spec.budget.evaluations
    return math.inf if limit is None else limit - state.spent.evaluations


def left_in_words(state: SearchState) -> str:
    """Remaining budget in words for prompts, in counts that a resumed search reproduces."""
    budget, spent = state.spec.budget, state.spent
    if budget.evaluations is not None:
        return f"{budget.evaluations - spent.evaluations} of {budget.evaluations} measurements"
    return f"{budget.candidates - spent.candidates} of {budget.candidates} recipes"


def generations_left(state: SearchState) -> int:
    """Estimate how many generations are left in the budget, including the next; at least 1.

    Each one is expected to use as much as the previous ones did on average.
    """
    spec, spent, slots = state.spec, state.spent, state.spec.slots
    budget, designer = spec.budget, spec.designer
    limits: list[tuple[float | None, float, float]] = [
        (budget.candidates, spent.candidates, float(slots)),
        (budget.evaluations, spent.evaluations, float(slots)),
    ]
    if state.uses_designer:
        prompt, answer = designer.prompt_tokens, designer.answer_tokens
        limits += [
            (budget.tokens, spent.tokens, slots * float(prompt + answer)),
            (budget.money, spent.money, slots * budget.cost(prompt, answer)),
        ]
    left = [math.floor(slots_in_time(state) / slots)] if budget.seconds is not None else []
    for limit, used, usual in limits:
        each = used / state.generation if state.generation else usual
        if limit is not None and each:
            left.append(math.ceil((limit - used) / each))
    return max(1, min(left, default=1))


def generation_in_words(state: SearchState) -> str:
    """Number of the current generation, of about how many, and whether it may be the last."""
    number, left = state.generation + 1, generations_left(state)
    if left == 1:
        return f"Generation {number}, which may be the last."
    return f"Generation {number} of about {state.generation + left}."


def reserve_seconds(
    state: SearchState, winner: Recipe | None = None, *, draws: bool = True
) -> float:
    """Expected seconds of the end: calibration draws, sentinels, sealed measurement.

    The winner's repair counts once: it is pruned again before the seal, and the result of that is
    sealed.
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
    # The dense model is also measured on sealed text.
    total += state.check_seconds + costs.sealed_pass()
    if winner is not None and draws:
        total += (state.spec.draws - 1) * draw_seconds(state, winner)
    return total


def draw_seconds(state: SearchState, winner: Recipe) -> float:
    """Expected seconds to prune by the winner and the reference from another draw."""
    return state.costs.whole(winner) + DRAW_WHOLES * state.costs.plain()


def seconds_left(state: SearchState) -> float:
    """Seconds left after reserving time for the end; infinite without a limit."""
    limit = state.spec.budget.seconds
    if limit is None:
        return math.inf
    return limit - state.spent.seconds - reserve_seconds(state)


class TimeBudget:
    """Seconds available for whole measurements after reserving time for the end.

    A costlier winner makes the end costlier: it is pruned from every draw and then sealed.

    Args:
        state: What is known.
        seconds: Seconds left after reserving the end with the best so far.
    """

    def __init__(self, state: SearchState, seconds: float) -> None:
        self.state = state
        self.seconds = seconds
        self._end = reserve_seconds(state)

    def charge(self, recipe: Recipe) -> bool:
        """Deduct the cost of measuring a recipe and letting it win; False if time is too short."""
        end = max(self._end, reserve_seconds(self.state, recipe))
        cost = self.state.costs.whole(recipe) + end - self._end
        if cost > self.seconds:
            return False
        self.seconds -= cost
        self._end = end
        return True


def answers_left(state: SearchState, *, repair: bool = False) -> float:
    """Number of full-size answers that tokens and money still pay for; infinite without limits."""
    return min(_answers_left(state, repair).values(), default=math.inf)


def _answers_left(state: SearchState, repair: bool = False) -> dict[DoneReason, float]:
    budget, designer = state.spec.budget, state.spec.designer
    quoted = REPAIR_TOKENS_PROGRAM if state.spec.written == "program" else REPAIR_TOKENS
    prompt = designer.prompt_tokens + repair * quoted
    left: dict[DoneReason, float] = {}
    if budget.tokens is not None:
        left["tokens"] = (budget.tokens - state.spent.tokens) // (prompt + designer.answer_tokens)
    if budget.money is not None:
        highest = budget.cost(prompt, designer.answer_tokens)
        left["money"] = (budget.money - state.spent.money) // highest
    return left


def answer_seconds(state: SearchState, questions: int) -> float:
    """Expected seconds of a generation's answers, from those of earlier generations."""
    if not questions or not state.spec.designer.is_timed:
        return 0.0
    if not state.generation:
        return questions * ASSUMED_ANSWER
    return state.asking_seconds / state.generation
