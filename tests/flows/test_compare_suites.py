"""Figures beside the perplexity, and every method that published tables name."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from autoprune.checkpoint.compact import write_compact
from autoprune.comparison.sizes import saved_bytes
from autoprune.evaluation.kl import dense_predictions, kl_to_dense
from autoprune.evaluation.suites import cost
from autoprune.models.loading import load_model
from autoprune.models.structure import prunable_linears
from autoprune.pruning import products
from flows.compare.params import CompareParams
from flows.compare.table import rendered
from tasks import compare_cells, compare_scheme, compare_suites
from tests.support.command_line import CommandLine
from tests.support.small_comparison import Compared

REASONING = "reasoning:generators=digits,items=3,shots=0,new_tokens=2"


@pytest.fixture
def compared(compared: Compared) -> Compared:
    return partial(compared, draws=1)


def measures(result: dict[str, Any], method: str) -> dict[str, dict[str, Any]]:
    (row,) = [row for row in result["rows"] if row["method"] == method]
    return {entry["column"]: entry for entry in row["measures"]}


def test_suites_are_columns_kept_like_every_cell(
    compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    plain = compared("wanda,magnitude")
    assert plain["dense_measures"] == [] and not measures(plain, "wanda")
    suites = f"lm,{REASONING}"
    first = compared("wanda,magnitude", suite=suites, record=str(tmp_path / "r"))
    # Pruned again, but the losses that were known are found, and are the same.
    for name in ("wanda", "magnitude"):
        found = measures(first, name)
        assert found.keys() == {"KL to dense", "reasoning accuracy"}
        assert found["KL to dense"]["value"] > 0 and found["KL to dense"]["items"] == 4
        assert found["reasoning accuracy"]["items"] == 3
    assert [row["perplexity"] for row in first["rows"]] == [
        row["perplexity"] for row in plain["rows"]
    ]
    (dense,) = first["dense_measures"]
    assert dense["column"] == "reasoning accuracy"
    head, lines = first["details"]["50 %"]
    assert head[2:5] == ["against wanda", "KL to dense", "reasoning accuracy"]
    assert lines[0][0] == "dense" and lines[0][3] == "–"

    def never(*_: Any) -> Any:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(compare_suites, "suite_rows", never)
        patch.setattr(compare_suites, "_distance_row", never)
        again = compared("wanda,magnitude", suite=suites)
    assert (again["measured"], again["cached"]) == (0, 3)
    assert again["rows"] == first["rows"]
    # One more suite costs that suite only.
    real, run = compare_suites.suite_rows, []

    def counted(bench: Any, name: str, *rest: Any) -> Any:
        run.append(name)
        return real(bench, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(compare_suites, "suite_rows", counted)
        patch.setattr(compare_suites, "_distance_row", never)
        other = REASONING.replace("digits", "digits+chain")
        compared("wanda", suite=f"lm,{other}")
    assert run == ["reasoning"] * 2
    # From the record alone the same columns.
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "empty"))
    printed = cli.record(f"compare --from {tmp_path / 'r'}")
    assert printed["details"] == json.loads(json.dumps(first["details"]))


def test_the_distance_is_that_of_the_pruned_model_on_the_sealed_windows(
    compared: Compared, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, dict[str, Any]]] = []
    real = compare_suites._distance_row

    def watching(bench: Any, items: Any) -> dict[str, Any]:
        weights = [layer.read().clone() for layer in bench.layers]
        seen.append((bench.part("sealed"), dict(enumerate(weights))))
        return real(bench, items)

    monkeypatch.setattr(compare_suites, "_distance_row", watching)
    result = compared("wanda", suite="lm")
    ((windows, weights),) = seen
    loaded = load_model(str(tiny_folder))
    wanted = dense_predictions(loaded.model, windows)
    for number, layer in enumerate(prunable_linears(loaded.model)):
        layer.write(weights[number])
    items = kl_to_dense(loaded.model, wanted)
    assert measures(result, "wanda")["KL to dense"]["value"] == pytest.approx(sum(items) / 4)


def test_the_suite_cost_gives_columns_beside_the_perplexity(compared: Compared) -> None:
    smaller = "depth:criterion=magnitude,protect=none,patch=none"
    timed = "cost:batches=1,prompt=8,new=2,repeats=1"
    found = compared(f"wanda,{smaller}", suite=timed)
    dense = {entry["column"]: entry for entry in found["dense_measures"]}
    figures = measures(found, smaller)
    # A machine may tell no peak memory, and a generation may be timed as no longer than its prompt.
    assert {"cost prefill", "batch 1 decode", "cost peak memory"} <= figures.keys()
    assert figures["cost prefill"]["value"] > 0 and figures["cost prefill"]["items"] == 1
    for column in ("cost parameters", "dense size"):
        assert figures[column]["value"] < dense[column]["value"]
        assert measures(found, "wanda")[column]["value"] == dense[column]["value"]
    head, _ = found["details"]["50 %"]
    assert head.index("sealed perplexity") < head.index("dense size") < head.index("cost prefill")


def test_a_suite_that_fails_costs_no_perplexity_and_is_tried_again(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compare_suites, "suite_rows", lambda *_: 1 / 0)
        broken = compared("wanda", suite=f"lm,{REASONING}")
    assert broken["rows"][0]["perplexity"] is not None
    assert any("division by zero" in line for line in broken["missing"])
    row = {"status": "unavailable", "reason": "no network"}
    with monkeypatch.context() as patch:
        patch.setattr(compare_suites, "suite_rows", lambda *_: [row, row])
        offline = compared("wanda", suite=f"lm,{REASONING}")
    assert offline["missing"] == ["wanda at 50 %, reasoning: unavailable: no network"]
    # One row of several is missing: the others are shown, and all are measured again.
    with monkeypatch.context() as patch:
        real = compare_suites.suite_rows
        lost = row | {"name": "boolq", "metric": "acc", "details": {"may_pass": True}}
        patch.setattr(compare_suites, "suite_rows", lambda *a: [*real(*a), lost | {"value": None}])
        partly = compared("wanda", suite=f"lm,{REASONING}")
    assert measures(partly, "wanda")["reasoning accuracy"]["value"] is not None
    assert partly["missing"] == ["wanda at 50 %, reasoning acc: unavailable: no network"]
    assert "KL to dense" in rendered(partly)
    repeated = compared("wanda", suite=f"lm,{REASONING}")
    assert repeated["measured"] == 2
    assert measures(repeated, "wanda")["reasoning accuracy"]["value"] is not None
    assert not repeated["missing"]


def test_what_was_measured_before_a_suite_was_killed_is_kept(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, run = compare_suites.suite_rows, []

    def killed(bench: Any, name: str, *rest: Any) -> Any:
        run.append(name)
        if name == "cost":
            # Like Ctrl-C, it is no failure of the suite.
            raise KeyboardInterrupt
        return real(bench, name, *rest)

    suites = f"{REASONING},cost:batches=1,prompt=8,new=2,repeats=1"
    monkeypatch.setattr(compare_suites, "suite_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        compared("wanda", suite=suites)
    # The dense model's losses and its first suite.
    assert run == ["reasoning", "cost"]
    monkeypatch.setattr(compare_suites, "suite_rows", real)

    losses = compare_cells._losses
    measured: list[str] = []

    def counted(bench: Any, cell: Any, *rest: Any) -> Any:
        measured.append(cell.title)
        return losses(bench, cell, *rest)

    monkeypatch.setattr(compare_cells, "_losses", counted)
    whole = compared("wanda", suite=suites)
    assert measured == ["wanda at 50 %, seed 0"] and whole["failed"] == 0
    assert measures(whole, "wanda")["reasoning accuracy"]["items"] == 3


def test_a_scheme_without_chance_removes_the_same_under_every_seed() -> None:
    one = {"mask_digest": "of seed 0", compare_scheme.UNITS: "blocks 1 and 2"}
    assert compare_scheme.same_removed(one | {"mask_digest": "of seed 1"}, one)
    assert not compare_scheme.same_removed(one | {compare_scheme.UNITS: "blocks 1 and 3"}, one)
    earlier = {"mask_digest": "of seed 0"}
    assert compare_scheme.same_removed(one, earlier)
    assert not compare_scheme.same_removed(one | {"mask_digest": "of seed 1"}, earlier)


def test_timings_are_measured_again_on_another_machine_and_never_beside_workers(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = "cost:batches=1,prompt=8,new=2,repeats=1"
    assert compared("magnitude", suite=timed)["measured"] == 2
    assert compared("magnitude", suite=timed)["measured"] == 0
    monkeypatch.setattr(cost, "hardware", lambda: {"processor": "another", "threads": 64})
    assert compared("magnitude", suite=timed)["measured"] == 2
    with pytest.raises(ValidationError, match="workers of dask would share it"):
        compared("magnitude", suite=timed, runner="dask", workers=2)


def test_kept_figures_stand_when_pruning_again_for_a_suite_fails(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = compared("wanda")
    with monkeypatch.context() as patch:
        patch.setattr(compare_cells, "_prune", lambda *_: 1 / 0)
        broken = compared("wanda", suite=REASONING)
    assert broken["rows"][0]["perplexity"] == plain["rows"][0]["perplexity"]
    (line,) = broken["missing"]
    assert line.startswith("wanda at 50 %, reasoning: unavailable:") and "by zero" in line
    whole = compared("wanda", suite=REASONING)
    assert not whole["missing"] and measures(whole, "wanda")["reasoning accuracy"]["items"] == 3


def test_a_suite_is_another_when_a_file_that_it_names_has_changed(
    compared: Compared, text_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text().replace("a", "o"))
    suite = f"lm:corpora={other},windows=2,seqlen=32"
    first = compared("wanda", suite=suite)
    assert compared("wanda", suite=suite)["measured"] == 0
    other.write_text(text_file.read_text().replace("e", "i"))
    second = compared("wanda", suite=suite)
    assert (second["measured"], second["rows"] != first["rows"]) == (2, True)


def test_bytes_are_those_of_the_saved_folder_and_its_compact_form(
    compared: Compared, tiny_folder: Path, tmp_path: Path
) -> None:
    result = compared("magnitude", sparsity=[0.7])
    (row,) = result["rows"]
    loaded = load_model(str(tiny_folder))
    layers = prunable_linears(loaded.model)
    values = torch.cat([layer.read().abs().flatten() for layer in layers])
    assert saved_bytes(loaded)["dense"] == result["dense_bytes"] == row["dense_bytes"]
    limit = values.sort().values[int(0.7 * len(values))]
    for layer in layers:
        # Not by a product, which leaves negative zeros, and those are values.
        layer.write(torch.where(layer.read().abs() >= limit, layer.read(), 0.0))
    loaded.model.save_pretrained(tmp_path / "dense")
    size = write_compact(tmp_path / "dense", tmp_path / "compact")
    found = saved_bytes(loaded)
    # The headers of the files come on top.
    header = size.dense_bytes - found["dense"]
    assert 0 < header < 8192 and 0 < size.compact_bytes - found["compact"] < 3 * 8192
    assert found["compact"] == pytest.approx(row["compact_bytes"], rel=1e-3)
    assert row["compact_bytes"] < 0.7 * row["dense_bytes"]
    cells = "".join(line for rows in result["details"].values() for line in rows[1][1])
    assert f"{row['dense_bytes'] / 1e6:.1f} → {row['compact_bytes'] / 1e6:.1f}" in cells


def test_float32_figures_are_cells_of_their_own_and_the_protocol_says_so(
    compared: Compared, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cells() -> list[dict[str, Any]]:
        files = (home / "comparison" / "cells").glob("*/*.json")
        return [json.loads(file.read_text())["key"] for file in files]

    methods = "wanda,wanda+ebft:epochs=1"
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: True)
    fast = compared(methods)
    assert (fast["protocol"]["precision"], fast["protocol"]["products"]) == ("auto", "bfloat16")
    exact = compared(methods, precision="float32")
    assert (exact["measured"], exact["cached"]) == (1, 2)
    assert exact["protocol"]["products"] == "float32" and exact["folder"] != fast["folder"]
    assert "--precision float32" in exact["command"] and "--precision" not in fast["command"]
    assert exact["rows"][1]["perplexity"] != fast["rows"][1]["perplexity"]
    assert any("tuning's products float32" in text for _, text in exact["protocol_lines"])
    # Where the processor has no bfloat16, auto is float32, and its cell the same.
    monkeypatch.setattr(products, "_cpu_has_bfloat16", lambda: False)
    slow = compared(methods)
    assert slow["measured"] == 0 and slow["protocol"]["products"] == "float32"
    kept = [(key["method"] or {}).get("solver") for key in cells() if key["products"]]
    assert kept == ["ebft:epochs=1"] * 2


def test_options_that_came_later_leave_names_of_folders_alone() -> None:
    plain = CompareParams(model="m", methods="wanda")
    later = {"baseline", "suite", "precision", "record", "calibration_text"}
    assert not later & plain.settings().keys()
    for change in ({"baseline": ["dense"]}, {"suite": "lm"}, {"precision": "float32"}):
        other = CompareParams(model="m", methods="wanda", **change)
        assert other.folder_name() != plain.folder_name()
    assert CompareParams(model="m", methods="wanda", record="r").folder_name() == (
        plain.folder_name()
    )
    line = CompareParams(model="m", baseline=["a+b", "dense"]).command()
    assert line == "autoprune compare m --baseline a+b --baseline dense"
