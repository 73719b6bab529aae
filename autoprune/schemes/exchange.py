"""Search for the blocks to remove: exchange some that go for some that stay, keep what is better.

The moves are the level switches of EvoPress (arXiv 2410.14649) with two levels, gone and kept: a
block comes back for each that goes, so that every set tried meets the budget. A set is judged by
the loss of the model without all of its blocks, since removals do not add up.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.surgery import without_blocks

# Exchanges of one move, at most; the smaller of two draws, so that most moves exchange one.
MOST = 3
# Draws of a move that was not tried before; after that the sets in reach count as used up.
DRAWS = 200


@dataclass(frozen=True)
class Exchanged:
    """What an exchange found.

    Args:
        removed: The best set of blocks, ascending.
        loss: Mean loss without them, nats per token.
        first: That of the set which the exchange started from.
        tried: Sets measured besides the first.
    """

    removed: list[int]
    loss: float
    first: float
    tried: int


def exchange_blocks(
    model: PreTrainedModel,
    windows: Tensor,
    removed: Sequence[int],
    candidates: Sequence[int],
    sizes: Sequence[int],
    *,
    trials: int,
    seed: int,
    report: Report = silent,
) -> Exchanged:
    """Improve a set of blocks to remove; never return a worse one.

    Args:
        model: In eval mode; left unchanged.
        windows: Token ids, int64 [n, s].
        removed: The first set.
        candidates: Blocks that may go, those of ``removed`` among them.
        sizes: Parameters of every block; only blocks of the same size are exchanged.
        trials: Sets to measure besides the first; fewer if there are no more.
        seed: Seed of the moves.
        report: Callback, called after each set.
    """
    rng = random.Random(seed)
    best = frozenset(removed)
    first = loss = _loss_without(model, windows, best)
    known = {best}
    for number in range(1, trials + 1):
        found = _moved(best, candidates, sizes, known, rng)
        if found is None:
            break
        known.add(found)
        other = _loss_without(model, windows, found)
        # Equal is not better: a plateau is not walked, so that the result stays explicable.
        if other < loss:
            best, loss = found, other
        report(Progress("exchanges", number, trials, f"loss {loss:.4f}, {first:.4f} at first"))
    return Exchanged(sorted(best), loss, first, len(known) - 1)


def _moved(
    best: frozenset[int],
    candidates: Sequence[int],
    sizes: Sequence[int],
    known: set[frozenset[int]],
    rng: random.Random,
) -> frozenset[int] | None:
    """A set that was not tried, a few exchanges from the best one; None if none is found."""
    for _ in range(DRAWS):
        found = best
        for _ in range(min(rng.randint(1, MOST), rng.randint(1, MOST))):
            back = rng.choice(sorted(found))
            alike = [n for n in candidates if n not in found and sizes[n] == sizes[back]]
            if alike:
                found = found - {back} | {rng.choice(alike)}
        if found not in known:
            return found
    return None


def _loss_without(model: PreTrainedModel, windows: Tensor, removed: frozenset[int]) -> float:
    with without_blocks(model, sorted(removed)):
        nll = evaluate_windows(model, windows).nll
    return math.fsum(nll) / len(nll)
