"""A measured model made and saved once more, a smaller one next to the dense one, and its worth."""

import json
from pathlib import Path

import pytest
import torch

from autoprune import Bench, Recipe
from autoprune.bench.cut_text import split_windows
from autoprune.bench.keeping import outcome_of, save_measured, save_smaller
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.candidate import Candidate
from autoprune.errors import AutopruneError, UsageError
from autoprune.models.record import read_record
from tests.support.saved_bytes import tensor_bytes

BUDGET = Budget(0.5)
SCHEME = Recipe(Candidate("scheme", "depth:criterion=random,protect=none,patch=none"))


def masks_of(bench: Bench, recipe: Recipe) -> str:
    with bench.pruned(recipe, BUDGET) as outcome:
        return outcome.mask_digest


def test_only_the_masks_that_were_measured_are_saved(bench: Bench, tmp_path: Path) -> None:
    wanda, folder = Recipe.parse("wanda"), tmp_path / "out"
    before = [layer.read().clone() for layer in bench.layers]
    with pytest.raises(AutopruneError, match=r"C1 gave masks .* and 0000"):
        save_measured(bench, "C1", wanda, BUDGET, "0" * 64, folder, {})
    assert not folder.exists()
    masks = masks_of(bench, wanda)
    saved = save_measured(bench, "C1", wanda, BUDGET, masks, folder, {"run": "r"}, "bfloat16")
    assert saved.record == read_record(folder) and saved.record["run"] == "r"
    assert saved.zeros.zeros == saved.pruned == bench.prunable // 2
    worth = outcome_of(folder, saved.record)
    assert worth is not None and worth["measured_in"] == "float32" and worth["dtype"] == "BF16"
    assert worth["source_bytes"] > worth["saved_bytes"] and "beside" not in worth
    assert outcome_of(folder, {}) is None
    assert all(torch.equal(x.read(), y) for x, y in zip(bench.layers, before, strict=True))


def test_what_a_repair_noted_is_on_record_with_the_model(bench: Bench, tmp_path: Path) -> None:
    recipe = Recipe.parse("wanda+ebft:epochs=1,rate=0.99")
    masks = masks_of(bench, recipe)
    saved = save_measured(bench, "C1", recipe, BUDGET, masks, tmp_path / "out", {})
    assert any("did not lower its error" in note for note in saved.record["notes"])


@pytest.mark.parametrize(
    "error",
    [
        UsageError("prompt 64 and 16 new tokens exceed the model's 32"),
        RuntimeError("no memory left"),
    ],
)
def test_a_smaller_model_that_cannot_be_timed_is_kept_with_the_reason(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr("autoprune.bench.keeping.beside_dense", refused)
    found = {"asked": "1.2 times", "faster": 1.3, "tokens_per_second_dense": 9.0}
    masks, folder = masks_of(bench, SCHEME), tmp_path / "out"
    saved = save_measured(bench, "C1", SCHEME, BUDGET, masks, folder, {}, found=found)
    assert str(error) in saved.record["notes"][-1] and saved.pruned is None
    budget = saved.record["budget"]
    assert budget["asked"] == "1.2 times" and budget["bytes"] < budget["bytes_before"]
    worth = outcome_of(folder, saved.record)
    assert worth is not None and (worth["faster"], worth["dense_rate"]) == (1.3, 9.0)
    assert "beside" not in worth and worth["saved_bytes"] > 0


def test_a_smaller_copy_is_saved_with_the_figures_of_both(
    tiny_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    how = Shrinking.parse("depth:criterion=influence+recover:steps=2")
    with Bench.open(tiny_folder, corpus=text_file, seqlen=96) as bench:
        text = split_windows(bench, str(text_file), 8, 96, 0, how.fresh_windows)
        dense = bench.loaded.model
        saved = save_smaller(bench, how, 0.5, text, tmp_path / "out")
        assert bench.loaded.model is dense
    record = json.loads((saved.folder / "autoprune.json").read_text())
    assert record == saved.record and record["text_split"] == text.split
    figures = record["beside_dense"]
    large, small = figures["dense"], figures["smaller"]
    assert small["parameters"] < large["parameters"] and figures["windows"] == 8
    # Of the tensors, without the header of a file.
    assert small["bytes"] == tensor_bytes(saved.folder) < large["bytes"]
    assert large["bytes"] == tensor_bytes(tiny_folder)
    assert large["prompt"] == small["prompt"] and large["continues"] != small["continues"]
    assert 1.0 < large["perplexity"] != small["perplexity"] > 1.0
    assert outcome_of(saved.folder, record | {"outcome": {}}) == {
        "saved_bytes": (saved.folder / "model.safetensors").stat().st_size,
        "dtype": "F32",
        "beside": figures,
    }
