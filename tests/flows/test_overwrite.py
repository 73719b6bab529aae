"""No command writes over what a person has, unless asked to, and it refuses before it works."""

import shutil
from pathlib import Path

import pytest

from tests.support.command_line import PRUNE, CommandLine

WORK = f"{PRUNE} --metric magnitude --seqlen 32"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def mine(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model with notes beside it."""
    folder = tmp_path / "mine"
    shutil.copytree(tiny_folder, folder)
    (folder / "TRAINING_NOTES.md").write_text("years of work")
    return folder


@pytest.mark.parametrize("stream", ["", "--stream"])
def test_prune_replaces_a_model_only_when_asked(cli: CommandLine, mine: Path, stream: str) -> None:
    before = contents(mine)
    cli.refuses(f"{WORK} {stream} --out {mine}", "holds a saved model")
    assert contents(mine) == before
    cli(f"{WORK} {stream} --out {mine} --overwrite")
    assert "TRAINING_NOTES.md" not in contents(mine) and (mine / "autoprune.json").is_file()


def test_prune_looks_at_its_target_before_it_reads_anything(
    cli: CommandLine, mine: Path, tmp_path: Path
) -> None:
    before = contents(mine)
    for where in ("", "/deep/pruned", "/.."):
        line = f"prune {mine} --corpus TEXT --metric wanda -q --overwrite"
        cli.refuses(f"{line} --out {mine}{where}", "never written over")
    (foreign := tmp_path / "thesis").mkdir()
    (foreign / "chapter1.txt").write_text("years of work")
    # Neither the text nor the metric exists, which is found out as soon as anything is read.
    line = "prune ./missing --corpus none.txt --metric none.py -q"
    for more in ("", "--overwrite"):
        shown = ("holds no saved model", str(foreign), "name another folder")
        cli.refuses(f"{line} --out {foreign} {more}", *shown)
    assert (foreign / "chapter1.txt").read_text() == "years of work"
    (mine / "metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    line = f"prune ./missing --metric {mine}/metric.py -q --out {mine} --overwrite"
    cli.refuses(line, "metric.py, which is never written over")
    (mine / "metric.py").unlink()
    assert contents(mine) == before


def test_compact_replaces_a_model_only_when_asked(cli: CommandLine, mine: Path) -> None:
    before = contents(mine)
    cli.refuses(f"compact MODEL {mine}", "--overwrite")
    cli.refuses(f"compact {mine} {mine}/small --overwrite", "lies in the source")
    assert contents(mine) == before
    cli(f"compact MODEL {mine} --overwrite")
    assert (mine / "compact.json").is_file() and not (mine / "TRAINING_NOTES.md").exists()


def test_compare_keeps_tables_of_others(cli: CommandLine, tmp_path: Path) -> None:
    (folder := tmp_path / "tables").mkdir()
    (folder / "comparison.md").write_text("years of work")
    line = "compare --corpus TEXT --methods wanda -q"
    shown = "holds comparison.md of no comparison of ours"
    cli.refuses(f"{line} MODEL --out {folder}", shown)
    (folder / "comparison.json").write_text('{"model": "another"}')
    cli.refuses(f"{line} MODEL --out {folder}", "of a comparison of another")
    cli.refuses(f"{line} MODEL --out MODEL", "is the source itself")
    # Without the tables in the way the missing text is what is wrong.
    line = line.replace("TEXT", "none.txt")
    cli.refuses(f"{line} MODEL --out {folder} --overwrite", "none.txt")
    assert "--overwrite" not in cli(f"{line} another --out {folder}", code=2).err
