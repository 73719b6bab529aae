"""Presets of quality: what one is expected to cost, and which one fits a time."""

import json
from pathlib import Path

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.pruning import products_class
from autoprune.quality import DATA, USUAL_MINUTES, choose, expect, presets, speed
from autoprune.recipe_text import read_recipe

MEASURED, KNOWN = presets()
CLASSES = [known["products"] for known in json.loads(DATA.read_text())["classes"]]
SAME = (MEASURED.parameters, MEASURED.seqlen, MEASURED.gflops)


@pytest.mark.parametrize("products", CLASSES)
def test_the_data_hold_recipes_that_cost_more_and_give_more(products: str) -> None:
    _, known = presets(products)
    assert [preset.name for preset in known] == [preset.name for preset in KNOWN]
    for preset in known:
        recipe = read_recipe(preset.recipe)
        assert (recipe.repair, recipe.allocation) == (preset.repair, "uniform")
        assert preset.perplexity > preset.dense > 1.0 and preset.source
    assert sorted(known, key=lambda p: p.seconds) == list(known)
    assert sorted(known, key=lambda p: -p.lost) == list(known)


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
    # What it stands for, with the windows that were asked for in place of its own.
    few = choose(*SAME, quality="fast", windows=3)
    assert few.options["calibration_windows"] == 3 != nothing.windows == KNOWN[0].windows
    assert few.options["metric"] == KNOWN[0].metric and f"3 x {SAME[1]} tokens" in few.lines[0]
    assert "at 1 of that speed" in few.lines[1] and f"{KNOWN[0].dense:.1f};" in few.lines[2]
    huge = (1000 * MEASURED.parameters, *SAME[1:])
    assert choose(*huge).preset == KNOWN[0]
    with pytest.raises(UsageError, match="choose one of fast, balanced, best"):
        choose(*SAME, quality="good")


def test_each_class_of_machines_has_its_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = json.loads(DATA.read_text())["classes"]
    other = {"products": "abacus", "measured": first["measured"] | {"machine": "an abacus"}}
    entries = [entry | {"seconds": 2 * entry["seconds"]} for entry in first["presets"]]
    file = tmp_path / "quality.json"
    file.write_text(json.dumps({"classes": [first, {**other, "presets": entries}]}))
    monkeypatch.setattr("autoprune.quality.DATA", file)
    presets.cache_clear()
    try:
        usual, own, unknown = (choose(*SAME, products=p) for p in (None, "abacus", "slide rule"))
    finally:
        presets.cache_clear()
    assert own.measured.machine == "an abacus" and own.seconds != usual.seconds
    assert unknown == usual


@pytest.mark.parametrize(
    ("tiles", "bfloat16", "found"),
    [(True, True, "amx"), (False, True, "avx512_bf16"), (False, False, "float32")],
)
def test_the_class_of_a_machine_is_that_of_its_fastest_products(
    tiles: bool, bfloat16: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
    assert products_class() == found
    assert products_class("cuda") == "cuda"
