"""``autoprune inspect`` prints its tables, writes both files once, and refuses odd input."""

import json
from pathlib import Path

import pytest

from autoprune.design.given import read_facts
from flows.inspect.command import SETTINGS
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.small_search import FEW, LINE, script

SIZES = "--seqlen 32 --calibration-windows 2 --selection-windows 2"


@pytest.mark.pictures
def test_tables_are_printed_and_both_files_written_once(cli: CommandLine, tmp_path: Path) -> None:
    line, out = f"inspect MODEL --corpus TEXT {SIZES} -q", tmp_path / "inspected"
    shown = cli(f"{line} --layers last --out {out}").out
    assert "model.layers.1.mlp.up_proj" in shown and "32x64" in shown
    assert all(fact in shown for fact in read_facts(out / "inspection.json"))
    assert (out / "inspection.png").read_bytes().startswith(b"\x89PNG")
    cli.refuses(f"{line} --out {out}", "--overwrite")
    cli.refuses(f"{line} --layers 7 --json", "from 0 to 1")
    record = cli(f"{line} --layers 0 --out {out} --overwrite --json").record
    assert set(record["blocks"]) == {"0"} and record["dtype"] == "float32"
    written = json.loads((out / "inspection.json").read_text())
    assert {name: written[name] for name in SETTINGS} == {name: record[name] for name in SETTINGS}
    half = cli(f"{line} --layers 0 --dtype bfloat16 --json").record
    assert half["dtype"] == "bfloat16" and half["loss"] != record["loss"]


def test_a_file_in_the_way_is_found_out_first(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in ("notes.txt", "notes.txt/inspected"):
        line = f"inspect MODEL --corpus TEXT --out {tmp_path}/{out}"
        cli.refuses(line, "notes.txt is a file; name a folder")


def test_tables_are_shown_where_their_files_cannot_be_written(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("flows.inspect.command.write_json", full)
    line = f"inspect MODEL --corpus TEXT {SIZES} -q --layers last --out {tmp_path / 'inspected'}"
    shown = cli(line, code=1).err
    assert "model.layers.1.mlp.up_proj" in shown and "the disk is full" in shown
    assert "saved" not in shown


@pytest.mark.pictures
def test_the_report_of_a_search_with_its_facts_shows_the_picture(
    cli: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "inspected"
    cli(f"inspect MODEL --corpus TEXT {SIZES} -q --layers last --out {out}")
    answers = script(tmp_path, ["metric: abs(W) * x_norm ** 0.5\ngroup: row\n"])
    asked = "--candidates 1 --slots 1 --no-register-winner --run shown"
    line = f"{LINE} {FEW} --designer scripted --script {answers} {asked}"
    cli(f"{line} --facts {out / 'inspection.json'}")
    files = RunFiles.of(State.open(), "shown")
    # The search has its own copy.
    (out / "inspection.json").unlink()
    page = files.page.read_text(encoding="utf-8")
    assert "The model before pruning" in page
    assert page.count("The model before pruning") == 2  # title and alternative text
    assert (files.plots / "inspection.png").read_bytes().startswith(b"\x89PNG")
