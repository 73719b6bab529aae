"""The command line: start-up, help, exit codes, and what goes to which stream."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import main
from flows.grammar import COMMANDS

NAMES = list(COMMANDS)
HEAVY = ("torch", "transformers", "prefect", "mlflow", "docker", "numpy", "pydantic", "rich")
METRIC = "def score(W, stats, params):\n    return W.abs() * stats['x_norm']\n"


def test_all_commands_are_there() -> None:
    working = {"demo", "search", "prune", "evaluate", "validate", "resume", "report", "ls"}
    assert working | {"promote", "doctor", "up", "sandbox"} <= set(NAMES)


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom flows.cli import main\nmain(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        "print(len(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    heavy, count = done.stderr.splitlines()
    assert heavy == "[]"
    # Seconds would be the machine's: about 160, and each of the heavy ones brings as many.
    assert int(count) < 300


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"example:\n  autoprune {name}" in shown
    for option in ("--json", "--seed", "--quiet", "--verbose"):
        assert option in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("autoprune 0.")


@pytest.mark.parametrize(
    "what", ["metrics", "allocators", "repairs", "schemes", "suites", "corpora", "models"]
)
def test_lists(what: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", what, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[what]
    assert main(["ls", what]) == 0
    assert capsys.readouterr().out.strip()


def test_results_go_to_stdout_and_progress_to_stderr(
    tiny_folder: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--model", str(tiny_folder), "--corpus", str(text_file)]
    assert main([*words, "--windows", "3", "--seqlen", "32", "--json"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert {"perplexity", "tokens", "seconds"} <= set(record)
    assert main([*words, "--windows", "3", "--seqlen", "32", "-q"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[-1].startswith("next")


def test_prune_prints_what_outside_checks_read(
    tiny_folder: Path, text_file: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prune", "--model", str(tiny_folder), "--corpus", str(text_file), "--json"]
    assert main([*words, "--metric", "wanda", "--calibration-windows", "3", "--seqlen", "32"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"zeros", "prunable", "sparsity", "seconds", "peak_rss_mb"} <= set(record)


@pytest.mark.docker
def test_validate(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(METRIC)
    bad.write_text("def score(W, stats, params):\n    return W[0]\n")
    assert main(["validate", str(good), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is True and record["code"] == "ok"
    assert main(["validate", str(bad), "--json"]) == 3
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False and record["code"] == "wrong_shape"


@pytest.mark.docker
def test_validate_offers_what_a_search_does(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "greedy.py"
    file.write_text('def score(W, stats, params):\n    return W.abs() * stats["grad_norm"]\n')
    assert main(["validate", str(file), "--json"]) == 3
    detail = json.loads(capsys.readouterr().out)["detail"]
    assert "stats has no 'grad_norm'; it has x_max, x_mean, x_norm, x_var" in detail
    assert main(["validate", str(file), "--statistics", "x_norm,grad_norm"]) == 0
    assert "do without grad_norm" in capsys.readouterr().out
    assert main(["validate", str(file), "--statistics", "grad"]) == 2
    assert "did you mean grad_norm" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    # Gone before the first word, so that there is nobody to read however quick it is.
    gone, pipe = os.pipe()
    os.close(gone)
    command = [sys.executable, "-m", "flows.cli", "down", "--json"]
    done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert done.returncode == 1 and done.stderr == ""
