"""What the tune operator would measure next: the strength under a repair, or numbers by Optuna."""

from collections.abc import Iterator, Sequence

from autoprune.search.archive import Entry
from autoprune.search.budget import seconds_left
from autoprune.search.randomness import stream_seed
from autoprune.search.state import SearchState
from autoprune.search.strength import strength_trials
from autoprune.search.tuning import (
    MASKS,
    REPAIR,
    Trial,
    losses,
    numbers,
    repaired_losses,
    suggest,
    tunable_form,
)

ATTEMPTS = 12
# Number of best entries considered for tuning masks; some may have no number to tune.
TUNED = 3


def tuned(
    state: SearchState, ranked: Sequence[Entry], where: tuple[int, int], turn: int
) -> Iterator[Trial]:
    """Yield trials, the most wanted first; some may be on record.

    The strength under the best recipe's repair comes first, then numbers of masks and numbers of
    its repair in turn.
    """
    best = state.archive.best()
    if best is None:
        yield from _masks(state, ranked, where)
        return
    yield from strength_trials(state, best, seconds_left(state))
    ways = [_masks(state, ranked, where), _repair(state, best, ranked, where)]
    for way in ways if turn % 2 == 0 else reversed(ways):
        yield from way


def _masks(state: SearchState, ranked: Sequence[Entry], where: tuple[int, int]) -> Iterator[Trial]:
    """Tune numbers of formula and allocation, of the best whole result first."""
    best, choices = state.archive.best(), state.spec.choices
    known = losses(state.archive, ranked)
    for entry in sorted(ranked, key=lambda e: (e is not best, e.score))[:TUNED]:
        form = tunable_form(entry.known_recipe)
        if numbers(form, choices, MASKS):
            for seed in _seeds(state, where):
                yield Trial(suggest(form, choices, known, seed, MASKS), (entry.alias,))


def _repair(
    state: SearchState, best: Entry, ranked: Sequence[Entry], where: tuple[int, int]
) -> Iterator[Trial]:
    """Tune numbers of the repair on the same masks; only measurements with it can judge them."""
    choices = state.spec.choices
    if numbers(best.known_recipe, choices, REPAIR):
        known = repaired_losses(best.known_recipe, ranked)
        for seed in _seeds(state, where):
            recipe = suggest(best.known_recipe, choices, known, seed, REPAIR)
            yield Trial(recipe, (best.alias,), direct=True)


def _seeds(state: SearchState, where: tuple[int, int]) -> Iterator[int]:
    for attempt in range(ATTEMPTS):
        yield stream_seed(state.spec.seed, *where, f"tune {attempt}")
