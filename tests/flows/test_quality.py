"""Presets: measured data, the one that fits a time, and a command without a recipe."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from autoprune.errors import UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.quality import USUAL_MINUTES, choose, expect, presets, speed
from autoprune.recipe_text import read_recipe
from autoprune.text.corpus import Corpus
from benchmarks.quality import measured
from flows.cli import main
from flows.params import PruneParams
from flows.params.prune import RECIPE
from tests.support.tiny_subject import tiny_subject

MEASURED, KNOWN = presets()
SAME = (MEASURED.parameters, MEASURED.seqlen, MEASURED.gflops)


def test_the_data_hold_recipes_that_cost_more_and_give_more() -> None:
    names = get_args(get_args(PruneParams.model_fields["quality"].annotation)[0])
    assert tuple(preset.name for preset in KNOWN) == names
    for preset in KNOWN:
        assert read_recipe(preset.recipe).solver == preset.repair
        PruneParams(metric=preset.metric, repair=preset.repair, statistics=preset.statistics)
        assert preset.perplexity > preset.dense > 1.0 and preset.source
    assert sorted(KNOWN, key=lambda p: p.seconds) == list(KNOWN)
    assert sorted(KNOWN, key=lambda p: -p.lost) == list(KNOWN)


def test_cost_grows_with_parameters_tokens_and_slowness() -> None:
    preset = KNOWN[1]
    assert expect(preset, MEASURED, *SAME) == pytest.approx(preset.seconds)
    larger = (3 * MEASURED.parameters, MEASURED.seqlen // 2, MEASURED.gflops / 4)
    assert expect(preset, MEASURED, *larger) == pytest.approx(6 * preset.seconds)
    half = expect(preset, MEASURED, *SAME, windows=preset.windows // 2)
    assert half == pytest.approx(preset.seconds / 2)
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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quality": "fast", "minutes": 3}, "leave one out"),
        ({"quality": "fast", "repair": "mrp", "group": "row"}, "leave out group, repair"),
        ({"minutes": 3, "stream": True, "out": "x"}, "whole model in memory"),
        ({"minutes": 0}, "greater than 0"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PruneParams(model="m", **fields)  # type: ignore[arg-type]


def test_the_benchmark_measures_a_preset_and_leaves_the_model_dense() -> None:
    loaded = tiny_subject()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    known = replace(MEASURED, seqlen=16)
    small = replace(KNOWN[-1], windows=2, repair="mrp+ebft:epochs=1+recover:steps=2")
    text = Corpus.of("text", [" ".join(map(str, range(900)))])
    unseen = torch.arange(2, 66).reshape(4, 16)
    found = measured(loaded, text, unseen, known, small, "here")
    assert found.dense == evaluate_windows(loaded.model, unseen).perplexity != found.perplexity
    assert found.seconds > 0 and found.source == "here" and found.repair == small.repair
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "twenty.txt"
    words = [f"{n} {' '.join(str(n * k % 97) for k in range(200))}" for n in range(20)]
    path.write_text("\n\n".join(words), encoding="utf-8")
    return path


@pytest.fixture
def words(tiny_folder: Path, text: Path, home: Path) -> list[str]:
    return ["prune", str(tiny_folder), "--corpus", str(text), "--seqlen", "32", "--json"]


def test_without_a_recipe_a_preset_is_taken_said_and_measured(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--calibration-windows", "4"]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    best = KNOWN[-1]
    assert (record["metric"], record["solver"]) == (best.metric, best.repair)
    assert record["preset"]["quality"] == best.name and record["samples"] == 4
    assert record["preset"]["expected_seconds"] < 60 * USUAL_MINUTES
    assert f"quality {best.name}: {best.recipe}" in said.err and "estimate: about" in said.err
    assert said.err.index("estimate: about") < said.err.index("repair")
    found = record["perplexity"]
    assert found["dense"] > 1 and found["pruned"] > 1 and found["pruned"] != found["dense"]


def test_a_preset_is_its_recipe_written_out(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast, sizes = KNOWN[0], ["--calibration-windows", "4"]
    assert main([*words, *sizes, "--quality", "fast"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    # A text of one document has no part to measure on; then the recipe alone is done.
    single = tmp_path / "single.txt"
    single.write_text(" ".join(map(str, range(2000))), encoding="utf-8")
    again = [str(single) if word.endswith("twenty.txt") else word for word in words]
    assert main([*again, *sizes, "--quality", "fast"]) == 0
    noted = json.loads(capsys.readouterr().out)
    assert noted["perplexity"] is None and "no perplexity was measured" in noted["notes"][0]
    own = ["--metric", fast.metric, "--repair", fast.repair, "--statistics", fast.statistics]
    assert main([*again, *sizes, *own]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["mask_digest"] == noted["mask_digest"] != chosen["mask_digest"]
    assert "preset" not in written and written["perplexity"] is None


@pytest.mark.parametrize("part", RECIPE)
def test_a_part_of_a_recipe_beside_a_quality_is_refused(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value = str(PruneParams.model_fields[part].default)
    assert main([*words, "--quality", "fast", f"--{part}", value]) == 2
    assert f"--{part} is a part of one" in capsys.readouterr().out
