"""Cells of a comparison of a tiny random Llama: none measured twice, exact zeros, no chance."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from autoprune import numerics
from autoprune.comparison import cell_keys, preparing
from autoprune.comparison.looks import OwnLooks
from autoprune.errors import UsageError
from autoprune.pruning import products
from tests.support.bench_comparison import Comparisons, row


def test_no_cell_is_measured_twice_and_a_new_method_costs_only_itself(
    compared: Comparisons,
) -> None:
    first = compared("wanda,wanda+mrp")
    assert (first["measured"], first["cached"]) == (5, 0)
    again = compared("wanda,wanda+mrp")
    assert (again["measured"], again["cached"]) == (0, 5)
    assert again["rows"] == first["rows"]
    more = compared("ria,wanda,wanda+mrp")
    assert (more["measured"], more["cached"]) == (2, 5)
    assert row(more, "wanda+mrp")["perplexity"] == row(first, "wanda+mrp")["perplexity"]
    # A third draw adds its own cells and leaves the others alone.
    third = compared("wanda", draws=3)
    assert (third["measured"], third["cached"]) == (1, 3)
    # Other sealed windows are another measurement.
    other = compared("wanda", sealed_windows=5)
    assert other["cached"] == 0
    assert (first["protocol"]["sealed_touches"], third["protocol"]["sealed_touches"]) == (5, 8)


def test_looks_count_for_kept_cells_and_at_the_whole_text(compared: Comparisons) -> None:
    def looks(**changes: Any) -> int:
        """Looks that a new counter knows of after a comparison."""
        result = replace(compared, looks=OwnLooks())("wanda", draws=1, **changes)
        return int(result["protocol"]["sealed_touches"])

    assert [looks(), looks()] == [2, 2]
    whole = OwnLooks()
    with compared.bench() as bench:
        whole.noting("lm")(bench.splits.whole, bench.splits.whole)
        assert whole.count(bench.splits) == 1


def test_another_type_or_arithmetic_is_another_cell_and_shared_text_is_counted(
    compared: Comparisons, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nine words end every document, after one that it has alone: eight are shared, ten are not.
    planted = tmp_path / "planted.txt"
    documents = enumerate(text_file.read_text().split("\n\n"))
    planted.write_text("\n\n".join(f"{text} {n} k l m n o p q r s" for n, text in documents))
    compared = replace(compared, text=planted)

    first = compared(draws=1)
    pairs = first["protocol"]["overlap"]
    assert [(pair["first"], pair["second"]) for pair in pairs if pair["words"] == 8] == [
        ("calibration", "selection"), ("calibration", "sealed"), ("selection", "sealed"),
    ]  # fmt: skip
    assert {pair["words"] for pair in pairs if pair["shared"]} == {8}
    assert all(pair["shared"] == pair["checked"] > 0 for pair in pairs if pair["words"] == 8)

    half = compared(draws=1, dtype="bfloat16")
    assert (half["measured"], half["cached"]) == (2, 0)
    assert [r["protocol"]["dtype"] for r in (first, half)] == ["float32", "bfloat16"]
    assert row(half, "wanda")["perplexity"] != row(first, "wanda")["perplexity"]
    assert ("numbers", "bfloat16 on cpu") in [
        (name, text.partition(",")[0]) for name, text in half["protocol_lines"]
    ]
    for module in (preparing, cell_keys):
        monkeypatch.setattr(module, "computed_by", lambda: {"transformers": "another"})
    assert compared(draws=1)["cached"] == 0


def test_figures_do_not_depend_on_what_else_is_compared(
    compared: Comparisons, tmp_path: Path
) -> None:
    methods = "magnitude,gblm,sparsegpt,wanda+sdsa+mrp,wanda+sequential,wanda+owl,random"
    together = compared(methods)
    fresh = replace(compared, folder=tmp_path / "fresh")
    for method in ("sparsegpt", "wanda+sdsa+mrp", "wanda+sequential", "wanda+owl", "random"):
        alone = row(fresh(method), method)
        assert alone["perplexity"] == row(together, method)["perplexity"]
        assert alone["selection"] == row(together, method)["selection"]
    # Nothing of a magnitude mask depends on the draw; a random mask does.
    assert row(together, "magnitude")["deviation"] == 0
    assert row(together, "random")["deviation"] > 0
    assert row(together, "wanda+owl")["deviation"] > 0


def test_zeros_are_exact_for_shares_and_patterns(compared: Comparisons) -> None:
    methods = "wanda,wanda+ramp,wanda+mrp,sparsegpt,wanda+sequential"
    result = compared(methods, sparsity=(0.333, 0.7), pattern=("2:4", "1:4"), draws=1)
    total = result["protocol"]["prunable"]
    for found in result["rows"]:
        if found["pattern"] == "unstructured" or found["status"] == "ok":
            assert found["zeros"] == round(found["sparsity"] * total)
        else:
            assert found["method"] == "wanda+ramp" and "fixes the zeros" in found["reason"]
    assert {found["status"] for found in result["rows"]} == {"ok", "unavailable"}


def test_tuning_never_sees_the_seal_and_counts_its_trials(compared: Comparisons) -> None:
    result = compared("wanda,wanda+ramp,wanda+sdsa", draws=1, tune=3)
    # Dense, three methods; three trials each for the two strengths.
    assert result["measured"] == 4 + 6
    assert result["protocol"]["sealed_touches"] == 4
    assert {one["method"]: one["trials"] for one in result["rows"]} == {
        "wanda": 0, "wanda+ramp": 3, "wanda+sdsa": 3,
    }  # fmt: skip
    own = row(result, "wanda+ramp")
    fixed = compared(own["measured_as"], draws=1)
    assert fixed["measured"] == 0
    assert fixed["rows"][0]["perplexity"] == own["perplexity"]


def test_draws_differ_and_a_damaged_cell_is_named(compared: Comparisons) -> None:
    result = compared("wanda", draws=3)
    assert len(set(result["protocol"]["draw_digests"])) == 3
    (first, *_) = compared.kept
    body = json.loads(first.read_text())
    body["record"]["zeros"] += 1
    first.write_text(json.dumps(body))
    again = compared("wanda", draws=3)
    assert again["cached"] == 3
    text = json.dumps(again["rows"]) + json.dumps(again["overview"])
    assert "is damaged" in text or again["dense_perplexity"] is None


def test_the_seed_reaches_what_is_drawn_at_random(compared: Comparisons) -> None:
    found = {
        seed: row(compared("random", draws=1, seed=seed), "random")["perplexity"] for seed in (0, 1)
    }
    assert found[0] != found[1]
    # Seed 0 is that of earlier versions: its figures are found, not measured again.
    again = compared("random", draws=1)
    assert again["measured"] == 0 and row(again, "random")["perplexity"] == found[0]


def test_float32_figures_are_cells_of_their_own_and_the_protocol_says_so(
    compared: Comparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "wanda,wanda+ebft:epochs=1"
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: True)
    fast = compared(methods, draws=1)
    assert (fast["protocol"]["precision"], fast["protocol"]["products"]) == ("auto", "bfloat16")
    exact = compared(methods, draws=1, precision="float32")
    assert (exact["measured"], exact["cached"]) == (1, 2)
    assert exact["protocol"]["products"] == "float32"
    assert exact["rows"][1]["perplexity"] != fast["rows"][1]["perplexity"]
    assert any("tuning's products float32" in text for _, text in exact["protocol_lines"])
    # Where the processor has no bfloat16, auto is float32, and its cell the same.
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: False)
    slow = compared(methods, draws=1)
    assert slow["measured"] == 0 and slow["protocol"]["products"] == "float32"
    keys = [json.loads(file.read_text())["key"] for file in compared.kept]
    kept = [(key["method"] or {}).get("solver") for key in keys if key["products"]]
    assert kept == ["ebft:epochs=1"] * 2


# One method that cannot be measured at 2:4, one whose strength is tuned.
CHOICE: dict[str, Any] = {"pattern": ("2:4",), "tune": 2}
METHODS = "wanda,ria,wanda+ramp"


def test_half_the_cells_from_elsewhere_and_half_from_here_are_one_table(
    compared: Comparisons, tmp_path: Path
) -> None:
    whole = compared(METHODS, **CHOICE)
    part = tmp_path / "part"
    there = replace(compared, folder=tmp_path / "there")
    half = there("wanda,ria", record=part, **CHOICE)
    assert 0 < half["measured"] < whole["measured"]

    here = replace(compared, folder=tmp_path / "here")
    moved = shutil.copytree(part, tmp_path / "moved")
    # As after a kill before the first table: the cells are there, what names them is not.
    (moved / "record.json").unlink()
    rest = here(METHODS, record=moved, **CHOICE)
    assert rest["cached"] >= half["measured"]
    assert rest["measured"] == whole["measured"] - half["measured"]
    assert rest["latex"] == whole["latex"]
    assert [untimed(row) for row in rest["rows"]] == [untimed(row) for row in whole["rows"]]
    # Which of two equals is the cheaper one is a matter of seconds.
    chosen = [[(r["method"], sorted(r["ties"])) for r in made["recommendation"]]
              for made in (rest, whole)]  # fmt: skip
    assert chosen[0] == chosen[1]
    # What was measured here lies in the record too, for the next machine.
    last = replace(compared, folder=tmp_path / "third")(METHODS, record=moved, **CHOICE)
    assert last["measured"] == 0


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("prune_seconds", "evaluate_seconds")}


@pytest.mark.parametrize("change", ["arithmetic", "text", "model"])
def test_a_cell_of_another_arithmetic_text_or_model_does_not_count(
    compared: Comparisons, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "r"
    compared(record=record, draws=1)
    (record / "record.json").rename(tmp_path / "record.json")
    other = replace(compared, folder=tmp_path / "other")
    if change == "arithmetic":
        monkeypatch.setattr(numerics, "NUMERICS", numerics.NUMERICS + 1)
    if change == "text":
        (text := tmp_path / "text.txt").write_text(compared.text.read_text().replace("a", "b"))
        other = replace(other, text=text)
    if change == "model":
        model = Path(shutil.copytree(compared.model, tmp_path / "model"))
        (path,) = model.glob("*.safetensors")
        weights = load_file(path)
        next(iter(weights.values())).mul_(1.5)
        save_file(weights, path, metadata={"format": "pt"})
        other = replace(other, model=model)
    # The folder's own word on what it holds is refused before anything is measured.
    (tmp_path / "record.json").rename(record / "record.json")
    with pytest.raises(UsageError, match="holds the record of another comparison"):
        other(record=record, draws=1)
    # Nor do its cells count where that word is missing.
    (record / "record.json").unlink()
    assert other(record=record, draws=1)["cached"] == 0
