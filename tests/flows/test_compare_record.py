"""The record of a comparison: every table from it alone, and a run that goes on elsewhere."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import DamagedFileError, UsageError
from autoprune.evaluation.perplexity import perplexity_of
from autoprune.models.reference import DEMO_MODEL
from flows.cli import main
from tasks.compare_record import tables_of_record
from tests.support import small_comparison

# One method that cannot be measured at 2:4, one whose strength is tuned.
CHOICE: dict[str, Any] = {"methods": "wanda,ria,wanda+ramp", "pattern": ["2:4"], "tune": 2}
compared = partial(small_comparison.compared, **CHOICE)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def line(model: Path, text: Path, *more: str) -> list[str]:
    small = f"""compare {model} --corpus {text} --methods wanda,ria,wanda+ramp --sparsity 0.5
      --pattern 2:4 --tune 2 --draws 2 --calibration-windows 4 --seqlen 32 --sealed-windows 4
      --selection-windows 3 -q"""
    return [*small.split(), *more]


def test_the_tables_of_a_record_are_those_of_the_run_byte_for_byte(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    record, run, again = (tmp_path / name for name in ("record", "run", "again"))
    words = line(tiny_folder, text_file, "--record", str(record), "--out", str(run))
    assert main([*words, "--baseline", "ria", "--baseline", "dense"]) == 0
    printed = capsys.readouterr().out
    assert "against ria" in printed and "against dense" in printed and str(record) in printed

    # No model, no text, no state: the record is all there is, wherever it is copied to.
    moved = shutil.copytree(record, tmp_path / "moved")
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("autoprune.bench.model.load_model", pytest.fail)
    monkeypatch.setattr("autoprune.bench.bench.load_corpus", pytest.fail)
    assert main(["compare", "--from", str(moved), "--out", str(again), "-q"]) == 0
    told = capsys.readouterr().out
    assert files(again) == files(run)
    assert tables_of(told) == tables_of(printed) and "At 50 % take" in tables_of(told)
    # Other contrasts from the same losses.
    assert main(["compare", "--from", str(moved), "--baseline", "wanda+ramp", "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["baselines"] == ["wanda+ramp"] and other["rows"][0]["change"] != 0
    assert not (tmp_path / "empty").exists()


def tables_of(printed: str) -> str:
    """What stands before the lines on this run's counts and folders."""
    return printed.partition("\ncells ")[0].partition("\nfiles ")[0].partition("\nrecord ")[0]


def test_every_number_can_be_made_again_from_the_record(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    result = compared(tiny_folder, text_file, record=str(tmp_path / "r"))
    kept = json.loads((tmp_path / "r" / "record.json").read_text(), parse_constant=pytest.fail)
    for name in ("splits_digest", "sealed_digest", "dtype", "machine", "versions", "commit",
                 "date", "split_seed", "computed_by", "products", "draw_digests"):  # fmt: skip
        assert name in kept["protocol"], name
    assert kept["command"].startswith(f"autoprune compare {tiny_folder}")
    assert "--record" not in kept["command"]
    found: dict[str, list[float]] = {}
    for cell in kept["cells"]:
        if "failed" in cell:
            assert "fixes the zeros" in cell["failed"]["reason"]
            continue
        digest = cell["kept"][""]
        path = tmp_path / "r" / "cells" / digest[:2] / f"{digest}.json"
        record = json.loads(path.read_text())["record"]
        assert len(record["sealed"]["nll"]) == 4 and record["prune_seconds"] > 0
        assert record["zeros"] == record["prunable"] // 2 and record["machine"]["processor"]
        if cell["target"]["pattern"] == "unstructured":
            found.setdefault(cell["method"], []).append(perplexity_of(record["sealed"]["nll"]))
    for name, values in found.items():
        (row,) = [r for r in result["rows"] if (r["method"], r["target"]) == (name, "50 %")]
        assert row["perplexity"] == pytest.approx(sum(values) / len(values), rel=1e-12)
    # The trials that chose the strength, on selection windows only.
    assert [trial["method"] for trial in kept["trials"]] == ["wanda+ramp"] * 2


def test_the_same_command_writes_the_same_record(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    record, first = tmp_path / "r", tmp_path / "first"
    compared(tiny_folder, text_file, record=str(record), out=str(first))
    before, tables = files(record), files(first)
    result = compared(tiny_folder, text_file, record=str(record), out=str(tmp_path / "second"))
    assert result["measured"] == 0
    assert files(record) == before and files(tmp_path / "second") == tables


def test_half_the_cells_from_elsewhere_and_half_from_here_are_one_table(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = compared(tiny_folder, text_file, out=str(tmp_path / "whole"))
    monkeypatch.setenv("AUTOPRUNE_HOME", str(home / "there"))
    part = tmp_path / "part"
    half = compared(tiny_folder, text_file, methods="wanda,ria", record=str(part))
    assert 0 < half["measured"] < whole["measured"]

    monkeypatch.setenv("AUTOPRUNE_HOME", str(home / "here"))
    moved = shutil.copytree(part, tmp_path / "moved")
    # As after a kill before the first table: the cells are there, what names them is not.
    (moved / "record.json").unlink()
    rest = compared(tiny_folder, text_file, record=str(moved), out=str(tmp_path / "rest"))
    assert rest["cached"] >= half["measured"]
    assert rest["measured"] == whole["measured"] - half["measured"]
    assert (tmp_path / "rest" / "comparison.tex").read_bytes() == (
        tmp_path / "whole" / "comparison.tex"
    ).read_bytes()
    assert [figures(row) for row in rest["rows"]] == [figures(row) for row in whole["rows"]]
    # Which of two equals is the cheaper one is a matter of seconds.
    chosen = [[(r["method"], sorted(r["ties"])) for r in made["recommendation"]]
              for made in (rest, whole)]  # fmt: skip
    assert chosen[0] == chosen[1]
    # What was measured here lies in the record too, for the next machine.
    monkeypatch.setenv("AUTOPRUNE_HOME", str(home / "third"))
    last = compared(tiny_folder, text_file, record=str(moved))
    assert last["measured"] == 0


def figures(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("prune_seconds", "evaluate_seconds")}


@pytest.mark.parametrize("change", ["arithmetic", "text", "model"])
def test_a_cell_of_another_arithmetic_text_or_model_does_not_count(
    change: str, tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from autoprune import numerics

    record, alone = tmp_path / "r", {"methods": "wanda", "draws": 1, "pattern": None, "tune": 0}
    compared(tiny_folder, text_file, record=str(record), **alone)
    (record / "record.json").rename(tmp_path / "record.json")
    monkeypatch.setenv("AUTOPRUNE_HOME", str(home / "other"))
    model, text = tiny_folder, text_file
    if change == "arithmetic":
        monkeypatch.setattr(numerics, "NUMERICS", numerics.NUMERICS + 1)
    if change == "text":
        text = tmp_path / "text.txt"
        text.write_text(text_file.read_text().replace("a", "b"))
    if change == "model":
        model = tmp_path / "model"
        shutil.copytree(tiny_folder, model)
        _change_a_weight(model)
    # The folder's own word on what it holds is refused before anything is measured.
    (tmp_path / "record.json").rename(record / "record.json")
    with pytest.raises(UsageError, match="holds the record of another comparison"):
        compared(model, text, record=str(record), **alone)
    # Nor do its cells count where that word is missing.
    (record / "record.json").unlink()
    assert compared(model, text, record=str(record), **alone)["cached"] == 0


def _change_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    next(iter(weights.values())).mul_(1.5)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_damaged_or_incomplete_record_says_so(
    tiny_folder: Path, text_file: Path, home: Path, tmp_path: Path
) -> None:
    record = tmp_path / "r"
    compared(tiny_folder, text_file, record=str(record), methods="wanda", draws=1)
    cells = sorted((record / "cells").glob("*/*.json"))
    text = cells[0].read_text()
    cells[0].write_text(text.replace('"zeros": ', '"zeros": 1'))
    with pytest.raises(DamagedFileError, match="its digest does not match"):
        tables_of_record(str(record), None, None)
    cells[0].unlink()
    with pytest.raises(DamagedFileError, match="lacks the cell"):
        tables_of_record(str(record), None, None)
    cells[0].write_text(cells[1].read_text())
    with pytest.raises(DamagedFileError, match="the cell of another key"):
        tables_of_record(str(record), None, None)
    (record / "record.json").write_text("{")
    with pytest.raises(DamagedFileError, match="is damaged"):
        tables_of_record(str(record), None, None)
    with pytest.raises(UsageError, match=r"holds no record\.json"):
        tables_of_record(str(tmp_path), None, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["some-model", "--from", "r"], "so MODEL can change nothing"),
        (["--from", "r", "--draws", "4"], "so --draws can change nothing"),
        (["--from", "nowhere"], "holds no record.json"),
        ([], "the model is missing"),
        ([DEMO_MODEL, "--methods", "wanda", "--baseline", "ria"], "'ria' is not compared"),
        ([DEMO_MODEL, "--methods", "wanda", "--baseline", "riaa"], "did you mean ria"),
        (["m", "--methods", "wanda", "--suite", "reasonin"], "did you mean reasoning"),
    ],
)
def test_wrong_use_is_refused_at_once(
    home: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_destroyed_model_comes_back_from_the_record(tmp_path: Path) -> None:
    from autoprune.comparison.cells import CellStore

    part = {"nll": [1.0, float("inf")], "perplexity": float("inf"), "tokens": 3, "seconds": 1.0}
    record = {"status": "ok", "sealed": part, "selection": part | {"nll": [1.0, 2.0]}}
    store = CellStore(tmp_path / "a", tmp_path / "b")
    store.keep({"of": "it"}, record)
    (path,) = (tmp_path / "b").glob("cells/*/*.json")
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert CellStore(tmp_path / "c", tmp_path / "b").find({"of": "it"}) == record
    assert torch.tensor(record["sealed"]["nll"]).isinf().any()
