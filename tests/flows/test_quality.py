"""Presets as options of a command, and a command without a recipe."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from autoprune.pruning import products_class
from autoprune.quality import USUAL_MINUTES, presets
from flows.prune.params import RECIPE, PruneParams
from tests.support.command_line import CommandLine

_, KNOWN = presets(products_class())


def test_every_preset_is_a_quality_and_its_parts_are_options() -> None:
    names = get_args(get_args(PruneParams.model_fields["quality"].annotation)[0])
    assert tuple(preset.name for preset in KNOWN) == names
    for preset in KNOWN:
        PruneParams(metric=preset.metric, repair=preset.repair, statistics=preset.statistics)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"quality": "fast", "minutes": 3}, "leave one out"),
        ({"quality": "fast", "repair": "mrp", "group": "row"}, "leave out group, repair"),
        (
            {"minutes": 3, "stream": True, "out": "x"},
            "presets measure the whole model, which streaming never holds",
        ),
        ({"minutes": 0}, "greater than 0"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, object], shown: str) -> None:
    with pytest.raises(ValidationError, match=shown):
        PruneParams(model="m", **fields)  # type: ignore[arg-type]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "twenty.txt"
    words = [f"{n} {' '.join(str(n * k % 97) for k in range(200))}" for n in range(20)]
    path.write_text("\n\n".join(words), encoding="utf-8")
    return path


@pytest.fixture
def line(cli: CommandLine, text: Path) -> str:
    cli.places["TEXT"] = text
    return "prune MODEL --corpus TEXT --seqlen 32 --calibration-windows 4"


def test_without_a_recipe_a_preset_is_taken_named_and_measured(line: str, cli: CommandLine) -> None:
    shown = cli(f"{line} --json")
    record, best = shown.record, KNOWN[-1]
    assert (record["metric"], record["solver"]) == (best.metric, best.repair)
    assert record["preset"]["quality"] == best.name and record["samples"] == 4
    assert record["preset"]["expected_seconds"] < 60 * USUAL_MINUTES
    assert f"quality {best.name}: {best.recipe}" in shown.err and "estimate: about" in shown.err
    assert shown.err.index("estimate: about") < shown.err.index("repair")
    found = record["perplexity"]
    assert found["dense"] > 1 and found["pruned"] > 1 and found["pruned"] != found["dense"]


def test_a_preset_is_its_recipe_written_out(line: str, cli: CommandLine, tmp_path: Path) -> None:
    fast = KNOWN[0]
    chosen = cli.record(f"{line} --quality fast")
    # A text of one document has no part to measure on; then the recipe alone is done.
    cli.places["TEXT"] = tmp_path / "single.txt"
    cli.places["TEXT"].write_text(" ".join(map(str, range(2000))), encoding="utf-8")
    noted = cli.record(f"{line} --quality fast")
    assert noted["perplexity"] is None and "no perplexity was measured" in noted["notes"][0]
    (tmp_path / "other.txt").write_text(" ".join(map(str, range(5000, 6000))), encoding="utf-8")
    held_out = cli.record(f"{line} --quality fast --held-out {tmp_path / 'other.txt'}")
    assert held_out["perplexity"] is None and "--held-out names" in " ".join(held_out["notes"])
    own = f"--metric {fast.metric} --repair {fast.repair} --statistics {fast.statistics}"
    written = cli.record(f"{line} {own}")
    assert written["mask_digest"] == noted["mask_digest"] != chosen["mask_digest"]
    assert "preset" not in written and written["perplexity"] is None


def test_a_part_of_a_recipe_beside_a_quality_is_refused(line: str, cli: CommandLine) -> None:
    for part in RECIPE:
        value = str(PruneParams.model_fields[part].default)
        cli.refuses(f"{line} --quality fast --{part} {value}", f"--{part} is a part of one")
