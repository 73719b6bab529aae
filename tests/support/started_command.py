"""A command in a process and a session of its own, as a terminal starts it."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

# Words that a person must not read on the screen of a command that went well.
NOISE = ("Traceback", "prefect", "Prefect", "ERROR", "WARNING", "Warning", "httpx")


def record_by_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Prefect as a user has it: on, without settings of the tests."""
    monkeypatch.delenv("AUTOPRUNE_PREFECT")
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)


def start(words: list[str], more: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start ``autoprune`` with these words."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(more or {}),
        start_new_session=True,
        # A shell's background jobs inherit an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def prefect_rows(home: Path, query: str) -> list[tuple[str, ...]]:
    """What Prefect's database of a state folder answers."""
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        return database.execute(query).fetchall()
