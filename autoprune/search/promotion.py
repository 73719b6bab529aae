"""Who rises from few windows to all of them."""

import math
from collections.abc import Sequence

from autoprune.design.parts import chain, family
from autoprune.search.archive import Entry
from autoprune.search.budget import Purse
from autoprune.search.randomness import stream
from autoprune.search.state import State

# Promoted whatever their rank, so that the correlation between rungs can be measured.
RANDOM_SHARE = 0.1


def promoted(
    state: State,
    entries: Sequence[Entry],
    generation: int,
    seconds: float = math.inf,
    owed: Sequence[Entry] = (),
) -> list[Entry]:
    """The entries that are measured on all selection windows, in the order of their design.

    The best share rises, unless its paired interval already excludes that it beats the incumbent,
    or few windows put it behind the reference when something is ahead of that: so few windows have
    wide intervals, and one bad metric with a slow repair takes the time of many good ones. Also the
    best of a kind of recipe of which none has risen yet, and a few others by lot.

    Args:
        state: What is known.
        entries: Measured on few windows.
        generation: Seeds the lot.
        seconds: What they may take together; the most promising come first.
        owed: What rises before all others, from whichever generation it is.
    """
    chosen = {entry.alias: entry for entry in owed}
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
    purse = Purse(state, seconds)
    rising = [e for e in chosen.values() if e.recipe is not None and purse.pays(e.recipe)]
    return sorted(rising, key=lambda entry: entry.order)


def kind_of(entry: Entry) -> tuple[str, ...]:
    """Comparison group, family of allocation, chain of repairs: the cell of an entry."""
    assert entry.recipe is not None
    recipe = entry.recipe
    return recipe.group, family(recipe.allocation), chain(recipe.solver)


def _new_kinds(state: State, ranked: Sequence[Entry]) -> list[Entry]:
    """Entries, best first, of kinds that nothing on all windows has; better than the reference."""
    known = {kind_of(e) for e in state.archive.measured() if e.rung >= 2}
    return [e for e in ranked if kind_of(e) not in known and e.score < 0]
