"""``auto``: measurements choose the allocation, uniform always competes."""

import json
import math

import pytest

from autoprune.allocation.formula import _standardised
from autoprune.allocation.selection import choose_allocator


def test_auto_lets_uniform_compete_and_never_takes_nan() -> None:
    losses = {"uniform": 3.0, "sdsa": math.nan, "ramp:half_width=0.2": 2.5, "owl": 2.5}
    choice = choose_allocator(["sdsa", "ramp:half_width=0.20", "owl"], losses.__getitem__)
    assert choice.best == "ramp:half_width=0.2"
    assert [name for name, _ in choice.losses] == ["uniform", "sdsa", "ramp:half_width=0.2", "owl"]
    assert choose_allocator(["sdsa"], lambda _: 1.0).best == "uniform"
    # A model that an allocation destroys has no loss that JSON could hold.
    lost = {"uniform": 1.0, "sdsa": math.inf, "owl": math.nan}
    found = choose_allocator(["sdsa", "owl"], lost.__getitem__)
    assert found.best == "uniform"
    assert json.dumps(found.to_json()["tried"], allow_nan=False).count("null") == 2


@pytest.mark.parametrize(
    ("repaired", "best"),
    [
        ({"uniform": 1.9, "owl": 2.0}, "uniform"),
        ({"uniform": 2.1, "owl": 2.0}, "owl"),
        ({"uniform": 2.0, "owl": 2.0}, "uniform"),
        ({"uniform": math.nan, "owl": 2.0}, "owl"),
    ],
)
def test_auto_decides_by_the_repaired_model_where_there_is_one(
    repaired: dict[str, float], best: str
) -> None:
    bare = {"uniform": 3.0, "sdsa": 2.8, "owl": 2.5}
    choice = choose_allocator(["sdsa", "owl"], bare.__getitem__, repaired.__getitem__)
    assert choice.best == best
    assert [name for name, _ in choice.losses] == list(bare)
    # Only equal budgets and the best of the others are worth a repair.
    assert [name for name, _ in choice.finals] == ["uniform", "owl"]
    alone = choose_allocator([], bare.__getitem__, repaired.__getitem__)
    assert alone.best == "uniform" and alone.finals == ()


def test_equal_numbers_stay_equal_when_they_are_standardised() -> None:
    assert _standardised([0.1] * 3) == [0.0, 0.0, 0.0]
    assert _standardised([1.0, 3.0]) == [-1.0, 1.0]
