"""Promotion of entries from few windows to all of them."""

import math
from collections.abc import Sequence

from autoprune.design.parts import chain, family
from autoprune.search.archive import Entry
from autoprune.search.budget import TimeBudget
from autoprune.search.randomness import stream
from autoprune.search.state import SearchState

# Share promoted regardless of rank, so that the correlation between rungs can be measured.
RANDOM_SHARE = 0.1


def select_promoted(
    state: SearchState,
    entries: Sequence[Entry],
    generation: int,
    seconds: float = math.inf,
    mandatory: Sequence[Entry] = (),
) -> list[Entry]:
    """Return the entries to measure on all selection windows, in order of design.

    The best share is promoted, except entries clearly worse than the incumbent and, once anything
    beats the reference, entries behind it: so few windows have wide intervals, and one bad metric
    with a slow repair takes the time of many good ones. The best entry of a kind that was never
    promoted is promoted too, as are a few others at random.
    """
    chosen = {entry.alias: entry for entry in mandatory}
    ranked = sorted(entries, key=lambda e: (e.score, e.order))
    incumbent = state.archive.best()
    ahead = incumbent is not None and incumbent.score < 0.0
    for entry in ranked[: math.ceil(state.spec.promote * len(ranked))]:
        difference = state.archive.compare(entry, incumbent) if incumbent else None
        behind = (ahead and entry.score > 0.0) or (difference is not None and difference.worse)
        if not behind:
            chosen.setdefault(entry.alias, entry)
    chosen |= {entry.alias: entry for entry in _new_kinds(state, ranked)[:1]}
    for entry in ranked:
        chance = stream(state.spec.seed, generation, entry.slot, "promotion").random()
        if chance < RANDOM_SHARE:
            chosen.setdefault(entry.alias, entry)
    budget = TimeBudget(state, seconds)
    affordable = [e for e in chosen.values() if e.recipe is not None and budget.charge(e.recipe)]
    return sorted(affordable, key=lambda entry: entry.order)


def kind_of(entry: Entry) -> tuple[str, ...]:
    """Kind of an entry: comparison group, allocation family, chain of repairs."""
    recipe = entry.known_recipe
    return recipe.group, family(recipe.allocation), chain(recipe.repair)


def _new_kinds(state: SearchState, ranked: Sequence[Entry]) -> list[Entry]:
    """Entries better than the reference of kinds not yet measured on all windows, best first."""
    known = {kind_of(e) for e in state.archive.measured() if e.rung >= 2}
    return [e for e in ranked if kind_of(e) not in known and e.score < 0]
