"""Which unfinished flow runs of a search `autoprune resume` may call gone."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from autoprune.errors import AutopruneError
from flows.params import SearchParams
from flows.platform import zombies
from flows.platform.zombies import STARTING_SECONDS, settle, starting_seconds
from flows.runs import save_params
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
    monkeypatch.setattr(zombies, "_flow_runs", lambda _client, _run: [starting])
    # Nobody listens there: marking a run as crashed would fail in another way.
    with pytest.raises(AutopruneError, match="may just be starting"):
        settle(home, "http://127.0.0.1:9/api", "demo")
