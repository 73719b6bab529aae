"""Who rises from few windows to all of them."""

import math
from collections.abc import Sequence

from autoprune.search.archive import Entry
from autoprune.search.randomness import stream
from autoprune.search.state import State

# Promoted whatever their rank, so that the correlation between rungs can be measured.
RANDOM_SHARE = 0.1


def promoted(state: State, entries: Sequence[Entry], generation: int) -> list[Entry]:
    """The entries that are measured on all selection windows, in the order given.

    The best share rises, unless its paired interval already excludes that it beats the incumbent.
    A few others rise by lot.
    """
    if not entries:
        return []
    ranked = sorted(entries, key=lambda e: (e.change.mean if e.change else math.inf, e.order))
    incumbent = state.archive.best()
    rising: set[str] = set()
    for entry in ranked[: math.ceil(state.spec.promote * len(ranked))]:
        difference = state.archive.compare(entry, incumbent) if incumbent else None
        if difference is None or not difference.worse:
            rising.add(entry.alias)
    for entry in ranked:
        chance = stream(state.spec.seed, generation, entry.slot, "promotion").random()
        if chance < RANDOM_SHARE:
            rising.add(entry.alias)
    return [entry for entry in entries if entry.alias in rising]
