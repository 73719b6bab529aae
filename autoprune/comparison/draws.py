"""Calibration draws: the same text, other windows for every seed."""

import torch
from torch import Tensor

from autoprune.errors import UsageError

# The pool from which draws are taken, in multiples of one draw.
POOL_DRAWS = 12


def draw_windows(pool: Tensor, count: int, seed: int) -> Tensor:
    """``count`` different windows of the pool in an order of the seed's own.

    Draws of different seeds are independent, so another seed changes none of the others.

    Args:
        pool: Token ids, int64 [windows, seqlen].
        count: Windows of a draw.
        seed: Number of the draw.

    Raises:
        UsageError: If the pool is smaller than one draw.
    """
    if len(pool) < count:
        raise UsageError(
            f"the calibration part of the text holds {len(pool)} windows of {pool.shape[1]} tokens "
            f"and {count} are asked for; lower --samples or --seqlen, or take a longer text"
        )
    generator = torch.Generator().manual_seed(seed)
    return pool[torch.randperm(len(pool), generator=generator)[:count]].contiguous()
