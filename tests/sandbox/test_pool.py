"""Which containers are made ahead, and which only when somebody asks."""

import math
from typing import Any

import pytest

from sandbox.pool import Pool


class Made:
    """A container that waits for ever."""

    expires, is_usable = math.inf, True

    def __init__(self, made: list["Made"]) -> None:
        made.append(self)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_with_none_kept_ready_as_many_are_made_as_are_taken(taken: int) -> None:
    made: list[Made] = []
    make: Any = lambda: Made(made)  # noqa: E731
    pool = Pool(make, 0, 1.0)
    for _ in range(taken):
        pool.discard(pool.take())
    # Waits for one that is being made.
    pool.close()
    assert len(made) == taken and all(one.closed == 1 for one in made)
