"""No command writes over what a person has, unless told to, and says so before it works."""

import shutil
from pathlib import Path

import pytest

from flows.cli import main

# See `sketched`.
PICTURES = True
WORK = ["--metric", "magnitude", "--calibration-windows", "2", "--seqlen", "32", "-q"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def mine(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model with notes beside it."""
    folder = tmp_path / "mine"
    shutil.copytree(tiny_folder, folder)
    (folder / "TRAINING_NOTES.md").write_text("years of work")
    return folder


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_prune_replaces_a_model_only_when_told(
    mine: Path,
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    stream: list[str],
) -> None:
    before = contents(mine)
    words = ["prune", "--model", str(tiny_folder), "--corpus", str(text_file), *WORK, *stream]
    assert main([*words, "--out", str(mine)]) == 2
    assert "holds a saved model" in capsys.readouterr().err
    assert contents(mine) == before
    assert main([*words, "--out", str(mine), "--overwrite"]) == 0
    assert "TRAINING_NOTES.md" not in contents(mine) and (mine / "autoprune.json").is_file()


@pytest.mark.parametrize("where", ["", "/deep/pruned", "/.."])
def test_prune_never_replaces_its_source(
    mine: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    before = contents(mine)
    words = ["prune", "--model", str(mine), "--corpus", str(text_file), *WORK, "--overwrite"]
    assert main([*words, "--out", f"{mine}{where}"]) == 2
    assert "never written over" in capsys.readouterr().err
    assert contents(mine) == before


def test_prune_looks_at_its_target_first(
    mine: Path, text_file: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.txt").write_text("years of work")
    # Neither the text nor the metric exists, which is found out as soon as anything is read.
    words = ["prune", "--model", "./missing", "--corpus", "none.txt", "--metric", "none.py", "-q"]
    for more in ([], ["--overwrite"]):
        assert main([*words, "--out", str(foreign), *more]) == 2
        assert "holds no saved model" in capsys.readouterr().err


def test_prune_keeps_the_files_it_reads(
    mine: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "metric.py").write_text("def score(W, stats, params):\n    return W.abs()\n")
    words = ["prune", "--model", "./missing", "--metric", str(mine / "metric.py"), "-q"]
    assert main([*words, "--out", str(mine), "--overwrite"]) == 2
    assert "metric.py, which is never written over" in capsys.readouterr().err


def test_compact_replaces_a_model_only_when_told(
    mine: Path, tiny_folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(mine)
    assert main(["compact", str(tiny_folder), str(mine)]) == 2
    assert "--overwrite" in capsys.readouterr().err and contents(mine) == before
    assert main(["compact", str(mine), str(mine / "small"), "--overwrite"]) == 2
    assert "lies in the source" in capsys.readouterr().err and contents(mine) == before
    assert main(["compact", str(tiny_folder), str(mine), "--overwrite"]) == 0
    assert (mine / "compact.json").is_file() and not (mine / "TRAINING_NOTES.md").exists()


def test_compare_keeps_tables_of_others(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "comparison.md").write_text("years of work")
    words = ["compare", "--corpus", str(text_file), "--methods", "wanda", "-q"]
    assert main([*words, str(tiny_folder), "--out", str(folder)]) == 2
    assert "holds comparison.md of no comparison of ours" in capsys.readouterr().err
    (folder / "comparison.json").write_text('{"model": "another"}')
    assert main([*words, str(tiny_folder), "--out", str(folder)]) == 2
    assert "of a comparison of another" in capsys.readouterr().err
    assert main([*words, str(tiny_folder), "--out", str(tiny_folder)]) == 2
    assert "is the source itself" in capsys.readouterr().err
    words[2] = "none.txt"
    # Without the tables in the way the missing text is what is wrong.
    assert main([*words, str(tiny_folder), "--out", str(folder), "--overwrite"]) == 2
    assert "none.txt" in capsys.readouterr().err
    assert main([*words, "another", "--out", str(folder)]) == 2
    assert "--overwrite" not in capsys.readouterr().err


def test_report_keeps_files(
    tiny_folder: Path,
    text_file: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = [
        "--calibration-windows",
        "4",
        "--seqlen",
        "48",
        "--selection-windows",
        "4",
        "--rung-windows",
        "2",
    ]
    words = ["search", "--model", str(tiny_folder), "--corpus", str(text_file), *sizes]
    words += ["--sealed-windows", "3", "--candidates", "1", "--run", "x", "-q"]
    assert main([*words, "--designer", "random", "--sandbox", "off"]) == 0
    page = tmp_path / "page.html"
    assert main(["report", "x", "--out", str(page)]) == 0
    page.write_text("years of work")
    assert main(["report", "x", "--out", str(page)]) == 2
    assert page.read_text() == "years of work" and "--overwrite" in capsys.readouterr().err
    assert main(["report", "x", "--out", str(page), "--overwrite"]) == 0
    assert page.read_text().startswith("<!")
    log = home / "runs" / "x" / "search.db"
    before = log.stat().st_size
    assert main(["report", "x", "--out", str(log), "--overwrite"]) == 2
    assert "lies in the source" in capsys.readouterr().err and log.stat().st_size == before
    assert main(["report", "x"]) == 0
