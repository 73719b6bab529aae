"""Which runs and tasks that Prefect lists as running have no process any more."""

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun

from flows.platform.stale_runs import is_abandoned, is_stale, mark_stale_runs, process_tag
from tasks.open_runs import note_open, process_mark
from tasks.state import State as StateFolder


def test_a_run_is_gone_with_its_process_and_not_before() -> None:
    assert not is_stale(["gpu", process_tag()])
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, _, created = process_tag().removeprefix("process:").split("/")
    born = psutil.Process(child.pid).create_time()
    mark = f"process:{host}/{child.pid}/{born:.2f}"
    assert not is_stale([mark])
    # Another process has the number now.
    assert is_stale([f"process:{host}/{child.pid}/{born - 60:.2f}"])
    child.communicate()
    assert is_stale([mark])
    assert not is_stale([f"process:elsewhere/{child.pid}/{born:.2f}"]) and not is_stale(["gpu"])
    assert not is_stale([f"process:{host}/{os.getpid()}/{created}"])


@pytest.mark.parametrize(
    ("kind", "seconds_ago", "tries", "behind"),
    [
        (StateType.RUNNING, 5.0, 1, False),
        (StateType.RUNNING, 5.0, 2, True),
        (StateType.COMPLETED, 5.0, 1, False),
        (StateType.COMPLETED, 90.0, 1, True),
    ],
)
def test_a_task_is_left_behind_by_a_retry_or_by_the_end_of_its_run(
    kind: StateType, seconds_ago: float, tries: int, behind: bool
) -> None:
    since = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    run = FlowRun(flow_id=uuid4(), state=State(type=kind, timestamp=since), run_count=tries)
    task = TaskRun(flow_run_id=run.id, task_key="t", dynamic_key="0", flow_run_run_count=1)
    assert is_abandoned(task, run) == behind


def test_marking_killed_runs_ends_those_in_mlflow_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, ended = StateFolder.open(home), []
    client: Any = SimpleNamespace(read_flow_runs=lambda **_: [], read_task_runs=lambda **_: [])
    monkeypatch.setattr("tasks.mirror.end_killed", ended.append)
    assert mark_stale_runs(client, state) == [] and not ended
    note_open(state, "1234")
    (note,) = (state.root / "open_runs").glob("*.json")
    note.write_text(note.read_text().replace(process_mark(), f"{socket.gethostname()}/1/1.00"))
    assert mark_stale_runs(client, state) == [] and ended == [state]
