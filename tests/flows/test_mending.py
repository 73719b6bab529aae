"""What `autoprune up` does when something of its own ends: by itself, or by another command."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from autoprune.errors import PrerequisiteError
from flows.platform import launch
from flows.platform.launch import Platform, bring_down
from flows.platform.processes import Running
from flows.platform.services import Service
from tasks.state import State

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def platform(tmp_path: Path, said: list[str]) -> Platform:
    found = Platform(State.open(tmp_path / "state"), said.append)
    for name in ("prefect", "worker"):
        found._launch(Service(name, name, SLEEPER, dict(os.environ)))
    return found


def test_what_ends_by_itself_is_started_again(platform: Platform, said: list[str]) -> None:
    try:
        assert platform.mend() == ""
        old = platform.started["worker"]
        psutil.Process(old.pid).kill()
        psutil.wait_procs([psutil.Process(old.pid)], timeout=10)
        assert platform.mend() == "" and "the worker ended by itself" in " ".join(said)
        assert platform.started["worker"].pid != old.pid
        assert platform.register.read() == platform.started
    finally:
        platform.stop_started()
    assert not platform.register.file.exists()


def test_what_down_ended_stays_down(platform: Platform) -> None:
    assert set(bring_down(platform.state, lambda _: None)) == {"prefect", "worker"}
    assert "`down` ended the prefect" in platform.mend()
    platform.stop_started()
    assert not platform.register.file.exists()


def test_what_another_up_started_since_is_not_forgotten(platform: Platform) -> None:
    bring_down(platform.state, lambda _: None)
    other = Platform(platform.state, lambda _: None)
    other._launch(Service("worker", "worker", SLEEPER, dict(os.environ)))
    try:
        assert platform.mend()
        platform.stop_started()
        assert other.register.read() == other.started and other.mend() == ""
    finally:
        other.stop_started()


def test_a_worker_of_another_server_is_not_taken_for_ours(platform: Platform) -> None:
    try:
        platform.api = "http://127.0.0.1:9/api"
        known = platform.started["worker"]
        theirs = Running(known.pid, known.created, "http://elsewhere:4200/api", known.log)
        with pytest.raises(PrerequisiteError, match=r"takes runs from http://elsewhere.*down"):
            platform._worker(theirs, 1)
    finally:
        platform.stop_started()


def test_a_server_that_hangs_is_named_as_our_own(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.0)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    try:
        known = platform.started["prefect"]
        mute = Running(known.pid, known.created, "http://127.0.0.1:9/api", known.log)
        with pytest.raises(PrerequisiteError, match=rf"process {known.pid}\) gives no answer"):
            platform._prefect(mute, 4200)
    finally:
        platform.stop_started()
