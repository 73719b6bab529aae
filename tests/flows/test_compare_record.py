"""The record of a comparison: every table from it alone, and a run that goes on elsewhere."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autoprune.evaluation.perplexity import perplexity_of
from autoprune.models.reference import DEMO_MODEL
from tests.support.command_line import CommandLine
from tests.support.small_comparison import LINE, Compared

# One method that cannot be measured at 2:4, one whose strength is tuned.
CHOICE: dict[str, Any] = {"methods": "wanda,ria,wanda+ramp", "pattern": ["2:4"], "tune": 2}


@pytest.fixture
def compared(compared: Compared) -> Compared:
    return partial(compared, **CHOICE)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_tables_of_a_record_are_those_of_the_run_byte_for_byte(
    tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, run, again = (tmp_path / name for name in ("record", "run", "again"))
    line = f"{LINE} --methods wanda,ria,wanda+ramp --sparsity 0.5 --pattern 2:4 --tune 2 --draws 2"
    baselines = "--baseline ria --baseline dense"
    printed = cli(f"{line} --record {record} --out {run} {baselines}").out
    assert "against ria" in printed and "against dense" in printed and str(record) in printed

    # No model, no text, no state: the record is all there is, wherever it is copied to.
    moved = shutil.copytree(record, tmp_path / "moved")
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("autoprune.bench.model.load_model", pytest.fail)
    monkeypatch.setattr("autoprune.bench.model.load_corpus", pytest.fail)
    read_back = cli(f"compare --from {moved} --out {again} -q").out
    assert files(again) == files(run)
    assert tables_of(read_back) == tables_of(printed) and "At 50 % take" in tables_of(read_back)
    # Other contrasts from the same losses.
    other = cli.record(f"compare --from {moved} --baseline wanda+ramp")
    assert other["baselines"] == ["wanda+ramp"] and other["rows"][0]["change"] != 0
    assert not (tmp_path / "empty").exists()
    # Tables of another comparison stay until somebody says otherwise.
    (again / "comparison.json").write_text('{"model": "another"}')
    before = files(again)
    cli.refuses(f"compare --from {moved} --out {again}", "of a comparison of another")
    assert files(again) == before
    cli(f"compare --from {moved} --out {again} --overwrite -q")
    assert files(again) == files(run)


def tables_of(printed: str) -> str:
    """What stands before the lines on this run's counts and folders."""
    return printed.partition("\ncells ")[0].partition("\nfiles ")[0].partition("\nrecord ")[0]


def test_every_number_can_be_made_again_from_the_record_and_the_record_by_its_command(
    compared: Compared, tiny_folder: Path, tmp_path: Path
) -> None:
    record, first = tmp_path / "r", tmp_path / "first"
    result = compared(record=str(record), out=str(first))
    kept = json.loads((record / "record.json").read_text(), parse_constant=pytest.fail)
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
        path = record / "cells" / digest[:2] / f"{digest}.json"
        figures = json.loads(path.read_text())["record"]
        assert len(figures["sealed"]["nll"]) == 4 and figures["prune_seconds"] > 0
        assert figures["zeros"] == figures["prunable"] // 2 and figures["machine"]["processor"]
        if cell["target"]["pattern"] == "unstructured":
            found.setdefault(cell["method"], []).append(perplexity_of(figures["sealed"]["nll"]))
    for name, values in found.items():
        (row,) = [r for r in result["rows"] if (r["method"], r["target"]) == (name, "50 %")]
        assert row["perplexity"] == pytest.approx(sum(values) / len(values), rel=1e-12)
    # The trials that chose the strength, on selection windows only.
    assert [trial["method"] for trial in kept["trials"]] == ["wanda+ramp"] * 2
    # The same command writes the same record.
    before, tables = files(record), files(first)
    result = compared(record=str(record), out=str(tmp_path / "second"))
    assert result["measured"] == 0
    assert files(record) == before and files(tmp_path / "second") == tables


def test_wrong_use_is_refused_at_once(cli: CommandLine) -> None:
    for line, shown in (
        ("some-model --from r", "so MODEL can change nothing"),
        ("--from r --draws 4", "so --draws can change nothing"),
        ("--from nowhere", "holds no record.json"),
        ("", "the model is missing"),
        (f"{DEMO_MODEL} --methods wanda --baseline ria", "'ria' is not compared"),
        (f"{DEMO_MODEL} --methods wanda --baseline riaa", "did you mean ria"),
        ("m --methods wanda --suite reasonin", "did you mean reasoning"),
    ):
        cli.refuses(f"compare {line}", shown)
