"""Calibration draws: the same text, different windows for every seed."""

import torch
from torch import Tensor

from autoprune.errors import UsageError

# The pool from which draws are taken, in multiples of one draw.
POOL_DRAWS = 12


# Most draws of one comparison; draws of other seeds have higher numbers.
MOST_DRAWS = 100

# Above this share of common windows, a deviation over draws says too little.
MOST_COMMON = 0.5


def require_different(pool: int, count: int, seeds: int) -> None:
    """Refuse several draws if each would be the whole pool: the same windows, reordered."""
    if seeds > 1 and pool == count:
        raise UsageError(
            f"the calibration part of the text holds {pool} windows, just those of one draw, so "
            f"{seeds} draws would be the same windows and a deviation over them would say "
            "nothing; give --draws 1, lower --calibration-windows or --seqlen, or take a "
            "longer text"
        )


def too_common(pool: int, count: int, seeds: int) -> str:
    """Return a warning if draws share most of their windows; otherwise empty.

    Two draws of ``count`` windows share ``count / pool`` of them on average.
    """
    share = count / pool
    if seeds < 2 or share <= MOST_COMMON:
        return ""
    return (
        f"any two draws share {100 * share:.0f} % of their windows on average, so ± says too "
        "little; lower --calibration-windows or --seqlen, or take a longer text"
    )


def draw_windows(pool: Tensor, count: int, seed: int) -> Tensor:
    """Draw ``count`` different windows of the pool in a seeded random order.

    Draws of different seeds are independent, so adding a seed changes none of the others.
    """
    if len(pool) < count:
        raise UsageError(
            f"the calibration part of the text holds {len(pool)} windows of {pool.shape[1]} tokens "
            f"and {count} are asked for; lower --calibration-windows or --seqlen, or take a "
            "longer text"
        )
    generator = torch.Generator().manual_seed(seed)
    return pool[torch.randperm(len(pool), generator=generator)[:count]].contiguous()
