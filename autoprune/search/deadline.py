"""What a time limit leaves for a step: whether it may start, and when it has to stop.

No search decision depends directly on a clock: a step that is refused or stopped gives the outcome
:data:`UNFINISHED` like any other, so that a resumed search plans from the same record.
"""

import math
from collections.abc import Sequence

from autoprune.search.archive import Entry
from autoprune.search.budget import (
    answer_seconds,
    draw_seconds,
    reserve_seconds,
    seconds_left,
    slots_in_time,
)
from autoprune.search.state import SearchState
from autoprune.search.steps import Failed, Measure, Propose, Seal, Validate, WorkStep

# Code of a step that ran out of time: no verdict on what it was to measure.
UNFINISHED = "unfinished"
# A step under way may overrun by this share of the limit: estimates are never exact, and a repair
# stopped at its last block has wasted its minutes.
MARGIN = 0.05


def is_unfinished(outcome: object) -> bool:
    """Whether a step was refused or stopped for lack of time."""
    return isinstance(outcome, Failed) and outcome.code == UNFINISHED


def allowance(state: SearchState, step: WorkStep, kept: float = 0.0) -> float:
    """Return the seconds that a step may take; 0: must not start; infinite without a limit."""
    left = _left(state) - kept
    if math.isinf(left) or _is_mandatory(state, step):
        return math.inf
    if isinstance(step, Seal):
        return max(0.0, left)
    if isinstance(step, Propose):
        # An answer is worthless if no time is left to measure it.
        if not state.spec.designer.is_timed:
            return math.inf
        whole = state.costs.designed(state.spec.selection_windows)
        return max(0.0, left - reserve_seconds(state) - whole)
    if not isinstance(step, Measure) or step.recipe is None:
        return max(0.0, left - reserve_seconds(state))
    recipe, costs = step.recipe, state.costs
    # What pruning costs beyond scores and masks: a repair, a program.
    added, rest = costs.added(recipe), costs.cheap(step.windows - step.known)
    limit = left - reserve_seconds(state, draws=not step.draw)
    if step.role == "baseline":
        # Leave time to design something after the starts. Starts measured at the same time are
        # sealed as well.
        starts = [e for e in state.archive if e.is_baseline and e.status == "valid"]
        after = sum(
            costs.sealed(e.recipe)
            for e in starts
            if e.recipe and not e.unfinished and e.alias != step.recipe_id
        )
        after += _one_design(state) + MARGIN * (state.spec.budget.seconds or 0.0)
        limit, left = limit - after, left - after
    if step.rung == 2 and not step.draw:
        # If it wins, its repair or program runs again, however long it took: before the seal and
        # for each further draw.
        again = state.spec.draws
        end = reserve_seconds(state, recipe) - again * added
        limit = min(limit, rest + (left - end - rest) / (1 + again))
    return limit if limit > 0.0 and limit >= added + rest else 0.0


def starts_in_time(state: SearchState, entries: Sequence[Entry]) -> list[Entry]:
    """Return the hand-made starts that leave time for a generation of designs after them."""
    left = seconds_left(state)
    if math.isinf(left):
        return list(entries)
    costs, chosen, costliest = state.costs, [], 0.0
    generation = _one_design(state)
    for entry in entries:
        draws = (state.spec.draws - 1) * draw_seconds(state, entry.known_recipe)
        cost = costs.whole(entry.known_recipe) + costs.sealed(entry.known_recipe)
        if cost + generation + max(costliest, draws) <= left:
            left, costliest = left - cost, max(costliest, draws)
            chosen.append(entry)
    return chosen


def draws_in_time(state: SearchState, winner: Entry) -> int:
    """Number of further draws of calibration text that fit before the seal."""
    wanted = state.spec.draws - 1
    left = _left(state) - reserve_seconds(state, draws=False)
    if math.isinf(left):
        return wanted
    return max(0, min(wanted, math.floor(left / draw_seconds(state, winner.known_recipe))))


def slots_now(state: SearchState) -> int:
    """Number of slots in the coming generation; the first takes as many as fit."""
    slots = state.spec.slots
    return slots if state.generation else int(min(slots, slots_in_time(state)))


def _one_design(state: SearchState) -> float:
    """Seconds of a first generation with one recipe."""
    costs = state.costs
    checks = state.check_seconds + answer_seconds(state, 1)
    whole, few = state.spec.selection_windows, state.rung_windows
    return checks + costs.designed(whole) + costs.designed(few)


def _left(state: SearchState) -> float:
    limit = state.spec.budget.seconds
    return math.inf if limit is None else (1.0 + MARGIN) * limit - state.spent.seconds


def _is_mandatory(state: SearchState, step: WorkStep) -> bool:
    """Whether no result is possible without the step: the reference and the checks for drift."""
    if isinstance(step, Validate):
        return step.recipe_id in state.archive and state.archive[step.recipe_id].is_baseline
    if not isinstance(step, Measure):
        return False
    first = next((e for e in state.archive if state.archive.refers(e)), None)
    is_reference = first is not None and step.recipe_id == first.alias
    return step.role in ("sentinel", "repeat") or (step.role == "baseline" and is_reference)
