"""Which unfinished flow runs of a search `autoprune resume` may call gone."""

import argparse
import os
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from autoprune.errors import AutopruneError
from flows.resume import command as resume
from flows.resume import stale_search_runs
from flows.resume.params import ResumeParams
from flows.resume.stale_search_runs import (
    STARTING_SECONDS,
    mark_stale_search_runs,
    return_to_worker,
    starting_seconds,
)
from flows.search.params import SearchParams
from flows.search.runs import save_params
from tasks import state
from tasks.run_files import RunFiles


@pytest.fixture
def home(tmp_path: Path) -> state.State:
    """A search called ``demo`` whose settings were written an hour ago."""
    found = state.State.open(tmp_path)
    RunFiles.of(found, "demo").folder.mkdir(parents=True)
    save_params(found, "demo", SearchParams(run="demo"))
    written(found, 3600.0)
    return found


def written(home: state.State, seconds_ago: float) -> None:
    at = datetime.now(UTC).timestamp() - seconds_ago
    os.utime(RunFiles.of(home, "demo").params, (at, at))


def flow_run(kind: StateType, seconds_ago: float) -> FlowRun:
    since = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return FlowRun(flow_id=uuid4(), name="search-demo", state=State(type=kind, timestamp=since))


@pytest.mark.parametrize("kind", [StateType.PENDING, StateType.RUNNING])
def test_a_run_that_just_starts_is_alive(home: state.State, kind: StateType) -> None:
    assert starting_seconds(home, "demo", flow_run(kind, 5.0)) == pytest.approx(
        STARTING_SECONDS - 5.0, abs=2.0
    )


def test_a_run_that_had_the_lock_or_had_time_enough_is_gone(home: state.State) -> None:
    assert starting_seconds(home, "demo", flow_run(StateType.RUNNING, STARTING_SECONDS + 1)) == 0
    assert starting_seconds(home, "demo", flow_run(StateType.COMPLETED, 1.0)) == 0
    # It wrote its settings, so it had the lock; the lock is free, so it died.
    written(home, 3.0)
    assert starting_seconds(home, "demo", flow_run(StateType.RUNNING, 5.0)) == 0


def test_resume_refuses_to_end_a_run_that_just_starts(
    home: state.State, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = flow_run(StateType.PENDING, 1.0)
    monkeypatch.setattr(stale_search_runs, "_flow_runs", lambda _client, _run: [starting])
    # Nobody listens there: marking a run as crashed would fail in another way.
    with pytest.raises(AutopruneError, match="may just be starting"):
        mark_stale_search_runs(home, "http://127.0.0.1:9/api", "demo")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> dict[UUID, FlowRun]:
    """Flow runs of a server, by id; those named night- are parents of those with their name."""
    runs: dict[UUID, FlowRun] = {}

    def parent(_client: Any, inner: FlowRun) -> FlowRun | None:
        return next((run for run in runs.values() if run.name == f"night-{inner.name}"), None)

    def set_state(number: UUID, state: State, force: bool) -> None:
        runs[number] = runs[number].model_copy(update={"state": state, "state_name": state.name})

    client = SimpleNamespace(read_flow_run=runs.__getitem__, set_flow_run_state=set_state)
    monkeypatch.setattr(stale_search_runs, "client_of", lambda *_: nullcontext(client))
    monkeypatch.setattr(stale_search_runs, "_parent", parent)
    return runs


def a_run(
    server: dict[UUID, FlowRun], name: str, kind: StateType, *, deployed: bool = False
) -> FlowRun:
    number = uuid4() if deployed else None
    made = flow_run(kind, 600.0).model_copy(update={"name": name, "deployment_id": number})
    server[made.id] = made
    return made


@pytest.mark.parametrize("kind", [StateType.RUNNING, StateType.SCHEDULED])
def test_a_night_that_is_at_work_after_its_search_is_not_started_again(
    home: state.State, server: dict[UUID, FlowRun], kind: StateType
) -> None:
    night = a_run(server, "night-search-demo", kind, deployed=True)
    inner = a_run(server, "search-demo", StateType.COMPLETED)
    with pytest.raises(AutopruneError, match="still at work or waits for a worker"):
        return_to_worker(home, "api", [inner])
    assert server[night.id] == night


def test_a_night_goes_on_although_a_command_went_on_with_its_search(
    home: state.State, server: dict[UUID, FlowRun]
) -> None:
    night = a_run(server, "night-search-demo", StateType.CRASHED, deployed=True)
    inner = a_run(server, "search-demo", StateType.CRASHED)
    typed = a_run(server, "typed-demo", StateType.COMPLETED)
    assert return_to_worker(home, "api", [typed, inner]) == (night.name, str(night.id))
    assert server[night.id].state_name == "AwaitingRetry"
    with pytest.raises(AutopruneError, match="'typed-demo' was started by a command"):
        return_to_worker(home, "api", [typed])


@pytest.mark.parametrize(
    ("kind", "shown"), [(StateType.CRASHED, True), (StateType.COMPLETED, False)]
)
def test_resume_of_a_nights_search_names_the_command_that_asks_the_gate(
    home: state.State,
    server: dict[UUID, FlowRun],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: StateType,
    shown: bool,
) -> None:
    a_run(server, "night-search-demo", kind, deployed=True)
    inner = a_run(server, "search-demo", kind)
    RunFiles.of(home, "demo").log.touch()
    monkeypatch.setenv("AUTOPRUNE_HOME", str(home.root))
    for name, stand_in in {
        "set_prefect_environment": lambda *_, **__: None,
        "running_api": lambda _: "http://127.0.0.1:9/api",
        "mark_stale_search_runs": lambda *_: [inner],
        "search_with": lambda *_: 0,
    }.items():
        monkeypatch.setattr(resume, name, stand_in)
    words = argparse.Namespace(run_name="demo", verbose=False, submit=False, device=None)
    assert resume.run(words, ResumeParams(run="demo")) == 0
    printed = capsys.readouterr().err
    assert ("next  autoprune resume demo --submit" in printed) == shown
    # A search of its own is no night, however it ended.
    server.clear()
    a_run(server, "search-demo", kind, deployed=True)
    monkeypatch.setattr(resume, "mark_stale_search_runs", lambda *_: list(server.values()))
    assert (
        resume.run(words, ResumeParams(run="demo")) == 0
        and "--submit" not in capsys.readouterr().err
    )
