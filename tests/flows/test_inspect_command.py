"""``autoprune inspect`` prints its tables, writes both files once, and refuses odd input."""

from pathlib import Path

from autoprune.bench.inspection import read_facts
from tests.support.command_line import CommandLine

# See `sketched`.
PICTURES = True
SIZES = "--seqlen 32 --calibration-windows 2 --selection-windows 2"


def test_tables_are_printed_and_both_files_written_once(cli: CommandLine, tmp_path: Path) -> None:
    line, out = f"inspect MODEL --corpus TEXT {SIZES} -q", tmp_path / "inspected"
    shown = cli(f"{line} --layers last --out {out}").out
    assert "model.layers.1.mlp.up_proj" in shown and "32x64" in shown
    assert all(fact in shown for fact in read_facts(out / "inspection.json"))
    assert (out / "inspection.png").read_bytes().startswith(b"\x89PNG")
    cli.refuses(f"{line} --out {out}", "--overwrite")
    cli.refuses(f"{line} --layers 7 --json", "from 0 to 1")
    record = cli(f"{line} --layers 0 --out {out} --overwrite --json").record
    assert set(record["blocks"]) == {"0"}
