"""Presets of quality: what one is expected to cost, and which one fits a time."""

import pytest

from autoprune.errors import UsageError
from autoprune.quality import USUAL_MINUTES, choose, expect, presets, speed

MEASURED, KNOWN = presets()
SAME = (MEASURED.parameters, MEASURED.seqlen, MEASURED.gflops)


def test_cost_grows_with_parameters_tokens_and_slowness() -> None:
    preset = KNOWN[1]
    assert expect(preset, MEASURED, *SAME) == pytest.approx(preset.seconds)
    larger = (3 * MEASURED.parameters, MEASURED.seqlen // 2, MEASURED.gflops / 4)
    assert expect(preset, MEASURED, *larger) == pytest.approx(6 * preset.seconds)
    half = expect(preset, MEASURED, *SAME, windows=preset.windows // 2)
    assert half == pytest.approx(preset.seconds / 2)
    # Recovery reads windows of its own, however few calibrate.
    best = KNOWN[2]
    assert best.seconds > best.recovery_seconds > 0.0 and "recover" in best.repair
    half = expect(best, MEASURED, *SAME, windows=best.windows // 2)
    assert half == pytest.approx((best.seconds + best.recovery_seconds) / 2)
    assert speed(seconds=0.01) > 0.0


def test_the_best_that_fits_is_chosen_and_the_fastest_where_none_does() -> None:
    for preset in KNOWN:
        found = choose(*SAME, minutes=1.001 * preset.seconds / 60)
        assert found.preset == preset and "that fits" in found.why
        assert choose(*SAME, quality=preset.name).preset == preset
    nothing = choose(*SAME, minutes=0.5 * KNOWN[0].seconds / 60)
    assert nothing.preset == KNOWN[0] and "none fits" in nothing.why
    assert choose(*SAME).why.endswith(f"fits {USUAL_MINUTES:g} minutes")
    huge = (1000 * MEASURED.parameters, *SAME[1:])
    assert choose(*huge).preset == KNOWN[0]
    with pytest.raises(UsageError, match="choose one of fast, balanced, best"):
        choose(*SAME, quality="good")
