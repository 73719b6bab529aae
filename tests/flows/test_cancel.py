"""A search that is cancelled in Prefect's UI: ended in seconds, nothing left, nothing lost."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterName,
)
from prefect.states import Cancelling

from autoprune.search.search import Search
from flows.platform.pools import POOL
from flows.search import search
from flows.search.params import SearchParams
from sandbox.ownership import LABEL_RUN
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import Tracker
from tests.support.held import Hold, hold
from tests.support.prefect_stack import RARELY, prefect_stack, until

# On a quiet machine it takes a tenth; the measurement itself would never end.
LOOSE_SECONDS = 120.0
RUN = "cancelled"
# Of the tiny model; more than a validation scores, so that a measurement is held.
LAYERS = 14


@dataclass
class Stack:
    """A server's client and the worker beside it."""

    client: SyncPrefectClient
    worker: psutil.Process

    def run_processes(self) -> list[psutil.Process]:
        """What the worker started."""
        return self.worker.children(recursive=True)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hold:
    return hold(tmp_path / "held", monkeypatch, free=LAYERS)


@pytest.fixture
def stack(
    tmp_path: Path, home: Path, prefect_template: Path, held: Hold, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "on")
    with (
        prefect_stack(tmp_path, home, prefect_template, held.environment) as (api, worker),
        SyncPrefectClient(api) as client,
    ):
        yield Stack(client, psutil.Process(worker))


def deploy(client: SyncPrefectClient) -> Any:
    """What `prefect deploy` would make of the search flow."""
    flow = client.create_flow_from_name(search.name)
    return client.create_deployment(
        flow,
        "manual",
        entrypoint="flows.search.search",
        pull_steps=[],
        work_pool_name=POOL,
        enforce_parameter_schema=False,
    )


def containers(run: str) -> list[str]:
    """Ids of the containers of a run."""
    words = ["docker", "ps", "-aq", "--no-trunc", "--filter", f"label={LABEL_RUN}={run}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.docker
@pytest.mark.slow
def test_cancelled_from_the_ui(
    stack: Stack, held: Hold, tiny_folder: Path, text_file: Path, tmp_path: Path, home: Path
) -> None:
    client = stack.client
    params = SearchParams(
        model=str(tiny_folder), corpus=str(text_file), designer="random", starts=("held",),
        calibration_windows=2, seqlen=48, rung_windows=2, selection_windows=4,
        sealed_windows=2, candidates=1, slots=1, run=RUN,
        register_winner=False,
    )  # fmt: skip
    run = client.create_flow_run_from_deployment(
        deploy(client), parameters={"params": params.to_json()}
    )
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    measuring = TaskRunFilter(name=TaskRunFilterName(like_="measure "))

    def measures() -> Any:
        state = client.read_flow_run(run.id).state
        assert not state.is_final(), f"{state}; {(tmp_path / 'worker.log').read_text()[-3000:]}"
        found = client.read_task_runs(flow_run_filter=mine, task_run_filter=measuring)
        # A task run that is being written has no state yet.
        running = any(task.state and task.state.is_running() for task in found)
        return held.reached and containers(RUN) and running

    def cancelled() -> Any:
        return client.read_flow_run(run.id).state.is_cancelled()

    until(measures, 120, "measurement", RARELY)
    seen, processes = containers(RUN), stack.run_processes()
    assert seen and processes
    state = State.open(home)
    asked = time.monotonic()
    client.set_flow_run_state(run.id, Cancelling())
    # The log is let go of when the evaluation has ended and the last figures are written.
    with FileLock(f"{RunFiles.of(state, RUN).log}.lock").acquire(timeout=LOOSE_SECONDS):
        until(lambda: not containers(RUN), LOOSE_SECONDS, "end of the containers", RARELY)
    ended = time.monotonic() - asked
    until(cancelled, LOOSE_SECONDS, "Cancelled", RARELY)
    shown = time.monotonic() - asked
    print(f"work ended after {ended:.1f} s, Cancelled after {shown:.1f} s")
    assert not [process for process in processes if process.is_running()]
    assert stack.worker.is_running() and not stack.run_processes()
    # The log of the worker has what the run's page shows.
    assert (
        f"press Retry here, or run autoprune resume {RUN}" in (tmp_path / "worker.log").read_text()
    )

    with Search.open(state.run(RUN)) as stopped:
        before = [body["step"]["step_id"] for body in stopped.history()]
        assert stopped.finished is None and before
    tracker = Tracker(state)
    (experiment,) = tracker.client.search_experiments(filter_string="name LIKE 'autoprune/%'")
    (parent,) = tracker.client.search_runs(
        [experiment.experiment_id], "tags.`autoprune.kind` = 'search'"
    )
    assert parent.info.status == "KILLED"

    search.fn(params)
    with Search.open(state.run(RUN)) as whole:
        after = [body["step"]["step_id"] for body in whole.history()]
    assert after[: len(before)] == before and set(Counter(after).values()) == {1}
