"""Recipes that are always measured once: every repair on the best masks, then equal budgets.

The bandit neither chooses this operator nor credits it.
"""

from collections.abc import Iterator
from dataclasses import replace

from autoprune.allocation.selection import UNIFORM
from autoprune.design.parts import canonical_repair, chain, family
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry
from autoprune.search.moves import recipe_key, take
from autoprune.search.state import SearchState
from autoprune.search_settings import ASKING_ARMS

SWEEP = "sweep"
# Arms with more than one way to propose.
WITH_MOVES = ("whole", "none")


def swept(
    state: SearchState, generation: int, count: int, taken: set[str]
) -> Iterator[tuple[Entry, Recipe]]:
    """Yield recipes for half of a generation's slots, each with the entry that it changes.

    Repairs are few and differ a lot, so drawing among all possible changes finds the best one
    late. The best recipe is then also measured with equal budgets: a repair that tunes whole
    blocks may work better with them than with a budget that helped the masks alone.
    """
    best = _home(state)
    if best is None:
        return
    # An odd number is rounded up in every other generation, including a single slot.
    most = (count + (generation + 1) % 2) // 2
    for recipe in _wanted(state, best):
        if not most:
            return
        if take(recipe, taken):
            most -= 1
            yield best, recipe


def overlooked(state: SearchState) -> list[Entry]:
    """Return what the sweep wants but cannot plan, since few windows already measured its masks.

    The author does not matter: masks of equal budgets under another repair are the reference's,
    and never rise by their score. Includes what the sweep planned when time ran out. Where a
    designer proposes alone, there is no sweep: each chain of repairs that it proposes is measured
    once, on the best of its masks.
    """
    if state.spec.arm in ASKING_ARMS:
        return list(_new_repairs(state))
    best = _home(state)
    if best is None:
        return []
    archive = state.archive
    wanted = [archive.holder("text", recipe_key(recipe)) for recipe in _wanted(state, best)]
    wanted += [entry for entry in archive if entry.operator == SWEEP]
    known = [archive.original(entry) for entry in wanted if entry is not None]
    few = [e for e in known if e.status == "measured" and e.partial and 2 not in e.results]
    return list({entry.alias: entry for entry in few}.values())


def _new_repairs(state: SearchState) -> Iterator[Entry]:
    seen = {chain(e.recipe.repair) for e in state.archive if e.recipe and 2 in e.results}
    for entry in _ranked(state):
        repair = chain(entry.known_recipe.repair)
        if repair not in seen and entry.partial:
            seen.add(repair)
            yield entry


def _home(state: SearchState) -> Entry | None:
    """The entry that the sweep changes; None for arms without a sweep."""
    if state.spec.arm not in WITH_MOVES:
        return None
    return state.archive.best() or next(_ranked(state), None)


def _wanted(state: SearchState, best: Entry) -> Iterator[Recipe]:
    known = [
        e.recipe for e in state.archive if e.recipe and (2 in e.results or e.operator == SWEEP)
    ]
    tried = {canonical_repair(recipe.repair) for recipe in known}
    choices = state.spec.choices
    for repair in map(canonical_repair, choices.repairs):
        if repair not in tried:
            yield replace(best.known_recipe, repair=repair)
    kinds = {(family(recipe.allocation), chain(recipe.repair)) for recipe in known}
    even = replace(best.known_recipe, allocation=UNIFORM)
    new = (UNIFORM, chain(even.repair)) not in kinds
    if new and UNIFORM in choices.allocations and not best.is_baseline:
        yield even


def _ranked(state: SearchState) -> Iterator[Entry]:
    return (entry for entry in state.archive.measured() if entry.recipe is not None)
