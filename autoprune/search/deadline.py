"""What a limit in time leaves for a step: whether it may start, and when it has to stop.

Nothing here decides what a search does next from a clock: a step that is refused or stopped gives
the outcome :data:`UNFINISHED` like any other, so that a resumed search plans from the same record.
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
from autoprune.search.state import State
from autoprune.search.steps import Failed, Measure, Propose, Seal, Validate, WorkStep

# Code of a step that time was too short for: no verdict on what it was to measure.
UNFINISHED = "unfinished"
# What has begun may run over by this share of the limit: estimates are never exact, and a repair
# that is stopped at its last block has cost its minutes for nothing.
MARGIN = 0.05


def is_unfinished(outcome: object) -> bool:
    """Whether a step was refused or stopped for lack of time."""
    return isinstance(outcome, Failed) and outcome.code == UNFINISHED


def allowance(state: State, step: WorkStep, kept: float = 0.0) -> float:
    """Seconds that a step may take; 0: it must not start; infinite without a limit.

    Args:
        state: What is known.
        step: An open step.
        kept: Seconds of outcomes of its batch that are on record and not in the state yet.
    """
    left = _left(state) - kept
    if math.isinf(left) or _is_owed(state, step):
        return math.inf
    if isinstance(step, Seal):
        return max(0.0, left)
    if isinstance(step, Propose):
        # An answer that nothing could be measured of afterwards is worth nothing.
        timed = state.spec.designer.is_timed
        return max(0.0, left - reserve_seconds(state) - state.costs.plain()) if timed else math.inf
    if not isinstance(step, Measure) or step.recipe is None:
        return max(0.0, left - reserve_seconds(state))
    recipe, costs = step.recipe, state.costs
    repair, rest = costs.repair(recipe.solver), costs.cheap(step.windows - step.known)
    limit = left - reserve_seconds(state, draws=not step.draw)
    if step.role == "baseline":
        # A search that ends with its hand-made starts has designed nothing; those that are
        # measured beside this one are sealed as well.
        beside = [e for e in state.archive if e.is_baseline and e.status == "valid"]
        after = sum(
            costs.sealed(e.recipe)
            for e in beside
            if e.recipe and not e.unfinished and e.alias != step.recipe_id
        )
        after += _one_design(state) + MARGIN * (state.spec.budget.seconds or 0.0)
        limit, left = limit - after, left - after
    if step.rung == 2 and not step.draw:
        # If it wins, its repair comes again, however long it took: before the seal, and for each
        # further draw.
        again = state.spec.calibration_draws
        end = reserve_seconds(state, recipe) - again * repair
        limit = min(limit, rest + (left - end - rest) / (1 + again))
    return limit if limit > 0.0 and limit >= repair + rest else 0.0


def starts_in_time(state: State, entries: Sequence[Entry]) -> list[Entry]:
    """The hand-made starts that can be measured, and a generation of designs after them.

    Args:
        state: Knows the reference, and so what a measurement takes.
        entries: The other starts, in their order.
    """
    left = seconds_left(state)
    if math.isinf(left):
        return list(entries)
    costs, chosen, dearest = state.costs, [], 0.0
    generation = _one_design(state)
    for entry in entries:
        assert entry.recipe is not None
        draws = (state.spec.calibration_draws - 1) * draw_seconds(state, entry.recipe)
        cost = costs.whole(entry.recipe) + costs.sealed(entry.recipe)
        if cost + generation + max(dearest, draws) <= left:
            left, dearest = left - cost, max(dearest, draws)
            chosen.append(entry)
    return chosen


def draws_in_time(state: State, winner: Entry) -> int:
    """Further draws of calibration text for which there is time before the seal."""
    wanted = state.spec.calibration_draws - 1
    left = _left(state) - reserve_seconds(state, draws=False)
    if math.isinf(left):
        return wanted
    assert winner.recipe is not None
    return max(0, min(wanted, math.floor(left / draw_seconds(state, winner.recipe))))


def slots_now(state: State) -> int:
    """Slots of the generation that begins; the first one takes as many as fit."""
    slots = state.spec.slots
    return slots if state.generation else int(min(slots, slots_in_time(state)))


def _one_design(state: State) -> float:
    """Seconds of a first generation of one recipe."""
    costs = state.costs
    checks = state.check_seconds + answer_seconds(state, 1)
    return checks + costs.plain() + costs.cheap(state.rung_windows)


def _left(state: State) -> float:
    limit = state.spec.budget.seconds
    return math.inf if limit is None else (1.0 + MARGIN) * limit - state.spent.seconds


def _is_owed(state: State, step: WorkStep) -> bool:
    """Whether there is no result without it: the reference, and what guards against drift."""
    if isinstance(step, Validate):
        return step.recipe_id in state.archive and state.archive[step.recipe_id].is_baseline
    if not isinstance(step, Measure):
        return False
    first = next((e for e in state.archive if state.archive.refers(e)), None)
    is_reference = first is not None and step.recipe_id == first.alias
    return step.role in ("sentinel", "repeat") or (step.role == "baseline" and is_reference)
