"""The harness of the benchmarks: rounds that resume, tables that say what they were measured on."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autoprune.checkpoint.compact import write_compact
from benchmarks import __main__ as benchmarks_main
from benchmarks import equal_bytes, measured, table
from benchmarks.measured import Rounds
from benchmarks.table import Goal, publish

SUBJECT = """
import os, sys, time
from pathlib import Path
from benchmarks.measured import report
count = Path(sys.argv[1])
runs = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(runs))
report(prune_s=float(sys.argv[2]) * runs)
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measured, "OUT", tmp_path)
    monkeypatch.setattr(table, "OUT", tmp_path)
    (tmp_path / "counted_subject.py").write_text(SUBJECT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def measure(out: Path, rounds: Rounds, *, foreign: bool = False) -> None:
    for _ in range(3):
        for name, scale in (("peer", "2"), ("ours", "1")):
            count = str(out / f"{name}.count")
            module = "counted_subject"
            rounds.run(name, "prune_s", module, count, scale, foreign=foreign and name == "peer")


def test_rounds_interleave_and_resume_measures_nothing_twice(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "code_digest", lambda: "this")
    rounds = Rounds("trial", ["a"])
    measure(out, rounds, foreign=True)
    assert [run["prune_s"] for run in rounds.runs["peer"]] == [2.0, 4.0, 6.0]
    assert rounds.median("ours", "prune_s") == 2.0
    assert rounds.ratio("ours", "peer", "prune_s") == 0.5
    assert all(run["peak_mb"] > 1 for run in rounds.runs["ours"])
    lines = (out / "trial.runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["subject"] for line in lines] == ["peer", "ours"] * 3

    again = Rounds("trial", ["a"], resume=True)
    measure(out, again, foreign=True)
    assert again.runs == rounds.runs
    assert (out / "peer.count").read_text() == (out / "ours.count").read_text() == "3"

    monkeypatch.setattr(measured, "code_digest", lambda: "another")
    changed = Rounds("trial", ["a"], resume=True)
    measure(out, changed, foreign=True)
    assert changed.runs["peer"] == rounds.runs["peer"]
    assert [run["prune_s"] for run in changed.runs["ours"]] == [4.0, 5.0, 6.0]


def test_other_options_measure_anew(out: Path) -> None:
    measure(out, Rounds("trial", ["a"]))
    measure(out, Rounds("trial", ["b"], resume=True), foreign=True)
    assert (out / "peer.count").read_text() == "6"


def test_a_failed_process_says_why(out: Path) -> None:
    with pytest.raises(SystemExit, match="no_such_module"):
        Rounds("trial").run("x", "prune_s", "no_such_module")


def test_a_table_is_markdown_with_its_origin(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--rounds", "2"])
    rows = [
        {"run": "a", "seconds": 1234.5, "x time": 0.25},
        {"run": "longer", "seconds": 1.0, "x time": 1.0},
    ]
    publish(
        "trial",
        "Title",
        rows,
        [Goal("time", 0.25, 0.3), Goal("memory", 0.9, 0.7)],
        versions={"peer": "9"},
    )
    text = (out / "trial.md").read_text()
    assert capsys.readouterr().out == f"\n{text}"
    lines = text.splitlines()
    assert lines[0] == "**Title**"
    assert "`python -m benchmarks trial --rounds 2`" in lines[2]
    assert "peer 9" in lines[2] and "commit " in lines[2]
    assert lines[4:8] == [
        "| run    | seconds | x time |",
        "| ------ | ------: | -----: |",
        "| a      |   1,234 |   0.25 |",
        "| longer |       1 |      1 |",
    ]
    assert lines[9:] == ["- time: 0.25, at most 0.3: met", "- memory: 0.9, at most 0.7: **missed**"]
    record = json.loads((out / "trial.json").read_text())
    assert record["rows"] == rows
    assert [goal["met"] for goal in record["goals"]] == [True, False]


def test_every_listed_benchmark_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(benchmarks_main.__file__).parent
    assert benchmarks_main.main([]) == 0
    listed = capsys.readouterr().out
    for name in benchmarks_main.CATALOGUE:
        assert (folder / f"{name}.py").is_file()
        assert name in listed
    assert benchmarks_main.main(["nonsense"]) == 2
    earlier = {"arms": "--selection-windows", "quality": "--measured-windows"}
    for name, option in earlier.items():
        assert benchmarks_main.main([name, "--windows=3"]) == 2
        assert f"--windows is now {option}" in capsys.readouterr().err


def test_zeros_are_as_many_as_make_the_bytes_equal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weight, rest = torch.randn(400, 800), torch.randn(900, 100)
    share = equal_bytes.zero_share(weight.numel(), rest.numel(), 500_000)
    zeros = torch.randperm(weight.numel())[: round(share * weight.numel())]
    weight.view(-1)[zeros] = 0
    (tmp_path / "dense").mkdir()
    tensors = {"w": weight.bfloat16(), "rest": rest.bfloat16()}
    save_file(tensors, tmp_path / "dense" / "model.safetensors")
    size = write_compact(tmp_path / "dense", tmp_path / "compact").compact_bytes
    assert size == pytest.approx(500_000, rel=0.01)


def test_each_form_stands_beside_the_smallest_dense_file_that_is_as_large() -> None:
    def row(form: str, size: int, perplexity: float) -> dict[str, object]:
        figures = {"perplexity": perplexity, "prefill": 1.0, "decode": 1.0}
        return {"form": form, "bytes": size, **figures}

    found = [row("dense q4_0", 100, 10.0), row("dense q8_0", 200, 8.0), row("zeros", 200, 40.0)]
    found += [row("cut q8_0", 150, 12.0), row("cut q5_0", 101, 15.0), row("cut f16", 300, 7.0)]
    table = equal_bytes.rows(found)
    assert [(entry["form"], entry["beside"], entry["x perplexity"]) for entry in table] == [
        ("cut f16", "-", "-"),
        ("dense q8_0", "-", "-"),
        ("zeros", "dense q8_0", 5.0),
        ("cut q8_0", "dense q8_0", 1.5),
        ("cut q5_0", "dense q4_0", 1.5),
        ("dense q4_0", "-", "-"),
    ]
