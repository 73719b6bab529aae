"""Threads wait asleep, and a run that others slow down says so."""

import os
import subprocess
import sys

import pytest

from flows import neighbours
from flows.neighbours import Neighbours, crowding
from flows.platform.environment import worker_environment


def test_a_line_only_where_others_take_what_this_run_wants() -> None:
    assert crowding(1.9, 0.1, 2) == "" and crowding(0.1, 1.9, 2) == ""
    # There is room for both.
    assert crowding(1.0, 1.0, 8) == ""
    said = crowding(0.5, 1.5, 2)
    assert "they take 1.5 of 2 processors and this run 0.5" in said and "25% of the time" in said


def test_it_is_said_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([(0.0, 0.0, 0.0), (30.0, 1.0, 2.0), (60.0, 30.0, 1e6), (120.0, 60.0, 2e6),
                  (700.0, 600.0, 3e6)])  # fmt: skip
    monkeypatch.setattr(neighbours, "_taken", lambda: next(taken))
    monkeypatch.setattr(neighbours.os, "cpu_count", lambda: 2)
    found = Neighbours()
    assert [bool(found.look()) for _ in range(4)] == [False, True, False, True]


def test_commands_and_workers_sleep_where_they_wait_and_the_users_word_stays() -> None:
    assert worker_environment({})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert worker_environment({"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"
    code = (
        "import os, sys\n"
        "from flows.cli import main\n"
        "assert 'torch' not in sys.modules\n"
        "main(['--version'])\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"KMP_BLOCKTIME": "5"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "PASSIVE 5"
