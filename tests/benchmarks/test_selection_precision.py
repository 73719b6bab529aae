"""What the benchmark of rounded products counts, on losses made up for it."""

import math

import pytest

from benchmarks.selection_precision import compared


def test_shifts_alike_change_nothing_and_turned_pairs_are_counted() -> None:
    plain = {"wanda": [1.0, 3.0], "a": [1.5, 2.75], "b": [1.5, 2.875]}
    shifted = {name: [loss + 0.25 for loss in losses] for name, losses in plain.items()}
    alike = compared(plain, shifted)
    assert alike["largest_window"] == alike["mean_shift"] == 0.25
    assert alike["largest_change"] == alike["turned"] == alike["largest_turned"] == 0
    # a was 0.0625 nats ahead of b, and is as far behind.
    turned = compared(plain, plain | {"a": [1.5, 3.0]})
    assert (turned["pairs"], turned["turned"]) == (3, 1)
    assert turned["largest_turned"] == pytest.approx(100 * math.expm1(0.0625))
    assert turned["largest_change"] == pytest.approx(100 * math.expm1(0.125))
    assert turned["largest_window"] == 0.25
