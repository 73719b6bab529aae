"""When a search stops: before a generation that would not fit into what is left."""

import math

from autoprune.search.state import State
from autoprune.search.steps import DoneReason

# What one answer of a designer takes before any was measured, in seconds.
ASSUMED_ANSWER_SECONDS = 5.0
SEALED_DESIGNS = 1


def reason_to_stop(state: State) -> DoneReason | None:
    """Why no further generation starts, or None when the next one is expected to fit."""
    budget, spent = state.spec.budget, state.spent
    if spent.candidates >= budget.candidates:
        return "candidates"
    if budget.tokens is not None and spent.tokens + _expected_tokens(state) > budget.tokens:
        return "tokens"
    # The first generation always starts: on a slow machine too, a search designs something.
    if budget.seconds is not None and state.generation > 0:
        needed = spent.seconds + _expected_seconds(state) + reserve_seconds(state)
        if needed > budget.seconds:
            return "seconds"
    return None


def reserve_seconds(state: State) -> float:
    """What the sealed measurement at the end is expected to take."""
    spec = state.spec
    factor = max(1.0, spec.sealed_windows / spec.selection_windows)
    measured = sum(1 for e in state.archive if e.is_baseline and e.status == "measured")
    return _baseline_seconds(state) * factor * (measured + SEALED_DESIGNS)


def _expected_tokens(state: State) -> float:
    if not state.uses_designer:
        return 0.0
    if state.per_generation:
        recent = state.per_generation[-3:]
        return sum(spent.tokens for spent in recent) / len(recent)
    designer = state.spec.designer
    return float(state.spec.slots * (designer.prompt_tokens + designer.max_tokens))


def _expected_seconds(state: State) -> float:
    if state.per_generation:
        recent = state.per_generation[-3:]
        return sum(spent.seconds for spent in recent) / len(recent)
    spec = state.spec
    whole = _baseline_seconds(state)
    few = whole * spec.rung_windows / spec.selection_windows
    answers = ASSUMED_ANSWER_SECONDS * spec.slots if state.uses_designer else 0.0
    return answers + spec.slots * few + math.ceil(spec.slots * spec.promote) * whole


def _baseline_seconds(state: State) -> float:
    """Mean seconds of one recipe on all selection windows."""
    seconds = [e.results[2].seconds for e in state.archive if e.is_baseline and 2 in e.results]
    return sum(seconds) / len(seconds) if seconds else 0.0
