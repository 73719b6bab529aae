"""``autoprune inspect`` prints its tables, writes both files once, and refuses odd input."""

import json
from pathlib import Path

import pytest

from autoprune.bench.inspection import read_facts
from flows.cli import main

# See `sketched`.
PICTURES = True
SIZES = ("--seqlen", "32", "--calibration-windows", "2", "--selection-windows", "2")


def test_tables_are_printed_and_both_files_written_once(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "inspected"
    command = ["inspect", str(tiny_folder), "--corpus", str(text_file), *SIZES, "-q"]
    assert main([*command, "--layers", "last", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "model.layers.1.mlp.up_proj" in shown and "32x64" in shown
    assert all(fact in shown for fact in read_facts(out / "inspection.json"))
    assert (out / "inspection.png").read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--layers", "7", "--json"]) == 2
    assert "from 0 to 1" in capsys.readouterr().err
    assert main([*command, "--layers", "0", "--out", str(out), "--overwrite", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["blocks"]) == {"0"}
