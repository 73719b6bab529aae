"""Variables of child processes: the ones that each needs and no others."""

from pathlib import Path

import psutil
import pytest

from flows.platform import services
from flows.platform.environment import mlflow_server_environment, worker_environment
from flows.platform.processes import Running, register_of
from tasks.state import PAGE_VARIABLE, State

PLACES = {"AUTOPRUNE_LEDGER": "/l/looks.jsonl", "XDG_STATE_HOME": "/state", "HOME": "/me"}


def test_runs_of_the_worker_write_the_ledger_of_whoever_started_it() -> None:
    given = PLACES | {"KEY_OF_ANOTHER_PROGRAM": "hidden"}
    found = worker_environment(given)
    assert found.items() >= PLACES.items()
    assert "KEY_OF_ANOTHER_PROGRAM" not in found
    assert "AUTOPRUNE_LEDGER" not in mlflow_server_environment(given)


def test_a_workers_runs_link_the_mlflow_server_that_up_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (PAGE_VARIABLE, "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    state = State.open(tmp_path)
    assert PAGE_VARIABLE not in services.worker(state, "http://127.0.0.1:4200/api", 1).environment
    me = psutil.Process()
    at = "http://127.0.0.1:5000"
    register_of(state).add("mlflow", Running(me.pid, me.create_time(), at, ""))
    found = services.worker(state, "http://127.0.0.1:4200/api", 1).environment
    assert found[PAGE_VARIABLE] == at


def test_the_password_of_a_database_is_on_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "postgresql://me:secret@db/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    server = services.mlflow_server(State.open(tmp_path), 5000)
    assert "secret" not in " ".join(server.command)
    assert server.environment[services.MLFLOW_STORE_VARIABLE] == place
