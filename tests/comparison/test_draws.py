"""Draws: independent of each other, and no deviation over what is one set of windows."""

from itertools import pairwise

import pytest
import torch

from autoprune.comparison.draws import draw_windows, require_different, too_common
from autoprune.errors import UsageError

POOL = torch.arange(12).reshape(6, 2)


def test_a_draw_of_the_whole_pool_is_the_pool_reordered_and_refused_where_there_are_more() -> None:
    rows = [sorted(draw_windows(POOL, 6, seed)[:, 0].tolist()) for seed in range(3)]
    assert rows == [POOL[:, 0].tolist()] * 3
    with pytest.raises(UsageError, match=r"holds 6 windows.*3 draws.*give --draws 1, lower --cal"):
        require_different(6, 6, 3)
    require_different(6, 6, 1)
    require_different(7, 6, 3)


def test_draws_that_share_most_windows_are_named() -> None:
    assert too_common(8, 6, 3).startswith("any two draws share 75 % of their windows on average")
    assert not too_common(12, 6, 3) and not too_common(6, 6, 1)
    # On average over many pairs, the share that the warning states.
    drawn = [set(draw_windows(POOL, 4, seed)[:, 0].tolist()) for seed in range(200)]
    shares = [len(a & b) / 4 for a, b in pairwise(drawn)]
    assert sum(shares) / len(shares) == pytest.approx(4 / 6, abs=0.05)
