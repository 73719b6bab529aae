"""A command refused for what was typed leaves nothing on record, and is answered at once."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main

# Command, exit code, and what the message holds; MODEL is a model, and all else is missing.
LIGHT = [
    ("search MODEL --device gpu", 2, "unknown device 'gpu'"),
    ("search MODEL --run Bad.Name", 2, "run name 'Bad.Name' is not allowed"),
    ("search MODEL --prompts nope", 2, "prompt folder nope does not exist"),
    ("search MODEL --designer scripted --script nope", 2, "a file of answers; nope is not one"),
    ("search MODEL --designer files:/proc/nope", 4, "/proc/nope cannot be used"),
    ("search MODEL --facts nope.json", 2, "nope.json is not an inspection"),
    ("demo --device gpu", 2, "unknown device 'gpu'"),
    ("compare MODEL --methods wanda --baseline ria", 2, "'ria' is not compared; allowed are dense"),
    ("compare --from nope", 2, "holds no record.json"),
    ("promote --folder ./nope", 2, "./nope has no autoprune.json"),
    ("reproduce nope", 2, "nope has no autoprune.json"),
    ("ls candidates --run nope", 2, "unknown run 'nope'"),
    ("resume nope", 2, "unknown run 'nope'"),
    ("rm nope --yes", 2, "unknown run 'nope'"),
    ("validate nope.py", 2, "nope.py cannot be read"),
    ("export ./nope --gguf q8_0 --out x.gguf", 2, "unknown model './nope'"),
    ("compact ./nope x", 2, "'nope' is not a folder"),
]
# These ask torch or MLflow, which take longer to import.
HEAVY = [
    ("search MODEL --device cuda:99", 2, "the device 'cuda:99' cannot be used here"),
    ("compare MODEL --methods wanda --baseline wanda+mrp", 2, "'wanda+mrp' is not compared"),
    ("promote --dry-run", 2, "no model of AutoPrune is registered"),
    ("promote --name nope", 2, "no registered model 'nope'"),
    ("promote --rollback", 2, "no model of AutoPrune is registered"),
    ("reproduce nope C1", 2, "unknown search in MLflow"),
]
# Where no search was registered yet, MLflow need not be asked.
EMPTY = [(line, code, "registered in" if "promote" in line else shown)
         for line, code, shown in HEAVY[2:]]  # fmt: skip
SECONDS = 1.0
# Files of a store, and the folder's name in it, which are made when it is asked.
OWN = ("state/mlflow", "state/id")


@pytest.fixture
def kept(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with both databases, empty, where flows are recorded."""
    monkeypatch.delenv("AUTOPRUNE_PREFECT")
    monkeypatch.chdir(migrated.parent)
    return migrated


def counts(home: Path) -> dict[str, Any]:
    """Flow runs, MLflow experiments and runs, and files, but those of a store that was asked."""
    names = sorted(str(path.relative_to(home.parent)) for path in home.parent.rglob("*"))
    found: dict[str, Any] = {"files": [name for name in names if not name.startswith(OWN)]}
    for file, tables in (
        ("prefect/prefect.db", ["flow_run"]),
        ("mlflow.db", ["experiments", "runs"]),
    ):
        with sqlite3.connect(home / file) as database:
            for table in tables:
                query = f"SELECT count(*) FROM {table}"
                (found[f"{file} {table}"],) = database.execute(query).fetchone()
        database.close()
    return found


@pytest.mark.parametrize(("line", "code", "shown"), LIGHT + HEAVY)
def test_nothing_is_recorded_of_a_refused_command(
    line: str, code: int, shown: str, kept: Path, tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = counts(kept)
    assert main([str(tiny_folder) if w == "MODEL" else w for w in line.split()]) == code
    message = capsys.readouterr().err
    assert shown in message and len(message.splitlines()) == 1, message
    assert counts(kept) == before


def test_each_is_answered_within_a_second_and_leaves_no_state_folder(
    tmp_path: Path, tiny_folder: Path
) -> None:
    lines = [
        [str(tiny_folder) if word == "MODEL" else word for word in line.split()]
        for line, *_ in LIGHT + EMPTY
    ]
    program = (
        "import json, os, sys, time\nbefore = time.process_time()\nfrom flows.cli import main\n"
        "found = []\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    code = main(line)\n"
        # A process of its own would not inherit it.
        "    os.environ.pop('AUTOPRUNE_DEVICE', None)\n"
        "    now = time.process_time()\n"
        "    found.append([code, now - before])\n"
        "    before = now\n"
        "heavy = [n for n in ('torch', 'prefect', 'mlflow', 'transformers') if n in sys.modules]\n"
        "print(json.dumps([found, heavy]))"
    )
    named = {"AUTOPRUNE_HOME": str(tmp_path / "state")}
    off = ("AUTOPRUNE_PREFECT", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "AUTOPRUNE_DEVICE")
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(lines)],
        env={name: value for name, value in os.environ.items() if name not in off} | named,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found, heavy = json.loads(done.stdout.splitlines()[-1])
    assert [code for code, _ in found] == [code for _, code, _ in LIGHT + EMPTY], done.stderr
    slow = [(line, took) for line, (_, took) in zip(lines, found, strict=True) if took > SECONDS]
    assert not slow and not heavy and not list(tmp_path.iterdir())


def test_a_new_search_without_docker_leaves_no_run(
    kept: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/listens/here")
    before = counts(kept)
    assert main(["search", str(tiny_folder), "--designer", "random"]) == 4
    assert "no Docker Engine answers" in capsys.readouterr().err
    assert counts(kept) == before
