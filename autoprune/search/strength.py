"""How strong the allocation of the best recipe should be under its repair.

A repair compensates more in some layers than in others, so the best strength with it differs from
that of the masks alone, by which the first rung ranks. Three strengths are measured with the
cheapest repair on record, then the minimum of their parabola once with the recipe's own.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter

from autoprune.design.parts import (
    allocation_numbers,
    canonical_allocation,
    canonical_repair,
    chain,
    rounded,
    with_allocation_numbers,
)
from autoprune.recipe import Recipe
from autoprune.search.archive import Archive, Entry
from autoprune.search.moves import recipe_key
from autoprune.search.state import SearchState
from autoprune.search.tuning import Trial

# Distance between the trials, in the logarithm of the strength.
STEP = math.log(1.5)


def strength_trials(state: SearchState, best: Entry, seconds: float) -> list[Trial]:
    """Return the missing trials with the cheap repair, or the last one with the recipe's own.

    The last one also has the weaker and the stronger trial as parents.

    Empty if the recipe has no repair or no strength, if the first rung repairs too, if its
    neighbours are out of range, if a strength of this allocation and repair was already found or
    started from, or if all of it takes more than the time left.
    """
    recipe, costs = best.known_recipe, state.costs
    cheap = _cheapest_repair(state)
    declared = allocation_numbers(recipe.allocation, state.spec.choices)
    if state.spec.proxy != "none" or recipe.repair == "none" or cheap is None or not declared:
        return []
    name, (start, (lowest, highest)) = next(iter(declared.items()))
    strengths = [rounded(start * math.exp(way * STEP)) for way in (-1, 0, 1)]
    if not lowest < strengths[0] < strengths[2] <= highest or _cell(recipe) in _settled(state):
        return []

    def of(strength: float, repair: str) -> Recipe:
        allocation = with_allocation_numbers(recipe.allocation, {name: strength})
        return replace(recipe, allocation=allocation, repair=repair)

    trials = [of(strength, cheap) for strength in strengths]
    known = {recipe_key(e.recipe): e for e in _whole(state.archive) if e.recipe is not None}
    found = [known.get(recipe_key(trial)) for trial in trials]
    missing = [trial for trial, entry in zip(trials, found, strict=True) if entry is None]
    if sum(map(costs.whole, missing)) + costs.whole(recipe) > seconds:
        return []
    weak, middle, strong = found
    if weak is None or middle is None or strong is None:
        return [Trial(trial, (best.alias,), direct=True) for trial in missing]
    last = start * math.exp(lowest_of_three(weak.score, middle.score, strong.score))
    parents = (best.alias, weak.alias, strong.alias)
    return [Trial(of(rounded(last), recipe.repair), parents, direct=True)]


def lowest_of_three(below: float, centre: float, above: float) -> float:
    """Where the parabola through losses at -STEP, 0 and STEP is lowest, within these bounds.

    The best of the three if it has no minimum.
    """
    bend = below - 2 * centre + above
    if bend <= 0.0:
        return min(((centre, 0.0), (below, -STEP), (above, STEP)), key=itemgetter(0))[1]
    return min(STEP, max(-STEP, STEP / 2 * (below - above) / bend))


def _cheapest_repair(state: SearchState) -> str | None:
    """The fastest repair that was measured; ties go to the better entry."""
    known = [canonical_repair(e.recipe.repair) for e in _whole(state.archive) if e.recipe]
    repairs = [repair for repair in dict.fromkeys(known) if repair != "none"]
    return min(repairs, key=state.costs.repair, default=None)


def _whole(archive: Archive) -> Iterator[Entry]:
    return (e for e in archive.measured() if 2 in e.results)


def _settled(state: SearchState) -> set[tuple[str, str]]:
    """Pairs of allocation and repair at either end of an earlier search for strength."""
    ends = [e for e in state.archive if e.operator == "tune" and len(e.parents) > 1]
    both = [*ends, *(state.archive[e.parents[0]] for e in ends)]
    return {_cell(e.recipe) for e in both if e.recipe is not None}


def _cell(recipe: Recipe) -> tuple[str, str]:
    return canonical_allocation(recipe.allocation), chain(recipe.repair)
