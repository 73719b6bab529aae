"""What `autoprune up` does when something of its own ends: by itself, or by another command."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from autoprune.errors import PrerequisiteError
from flows.platform import pools, processes, services
from flows.platform.processes import Running
from flows.platform.services import Service
from flows.up import launch, provisioning
from flows.up.grammar import DESCRIPTION
from flows.up.launch import Platform, bring_down, changing
from tasks.state import State

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def platform(
    tmp_path: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Platform]:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = Platform(State.open(tmp_path / "state"), shown.append)
    for name in ("prefect", "worker"):
        found._launch(Service(name, name, SLEEPER, dict(os.environ)))
    yield found
    found.stop_started()


def running(platform: Platform, name: str, api: str) -> Running:
    """A service of ours as one that serves this address."""
    known = platform.started[name]
    return Running(known.pid, known.created, api, known.log)


def test_what_ends_by_itself_is_started_again(platform: Platform, shown: list[str]) -> None:
    assert platform.revive() == ""
    old = platform.started["worker"]
    psutil.Process(old.pid).kill()
    psutil.wait_procs([psutil.Process(old.pid)], timeout=60)
    assert platform.revive() == "" and "the worker ended by itself" in " ".join(shown)
    assert platform.started["worker"].pid != old.pid
    assert platform.register.read() == platform.started
    platform.stop_started()
    assert not platform.register.file.exists()


def test_the_help_promises_restarts_in_the_foreground_alone() -> None:
    sentences = " ".join(DESCRIPTION.split()).split(". ")
    (promise,) = [sentence for sentence in sentences if "is restarted" in sentence]
    assert promise.startswith("In the foreground")
    assert any("--detach" in one and "nothing restarts a part" in one for one in sentences)


def test_a_server_that_ended_by_itself_is_started_at_its_own_port(
    tmp_path: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    found = Platform(State.open(tmp_path / "state"), shown.append)
    ports: list[int] = []
    monkeypatch.setattr(found, "_start", lambda service, port, *_: ports.append(port))
    monkeypatch.setattr(found, "_database", lambda: None)

    def start(wanted: int | None) -> list[int]:
        ports.clear()
        found._prefect(found.register.read().get("prefect"), wanted)
        found._mlflow(found.register.read().get("mlflow"), wanted)
        return list(ports)

    assert start(None) == [services.PREFECT_PORT, services.MLFLOW_PORT]
    dead = {"prefect": "http://127.0.0.1:4310/api", "mlflow": "http://127.0.0.1:5310"}
    for name, url in dead.items():
        found.register.add(name, Running(os.getpid(), 0.0, url, "log"))
    assert start(None) == [4310, 5310]
    assert start(4999) == [4999, 4999]
    bring_down(found.state, shown.append)
    assert start(None) == [services.PREFECT_PORT, services.MLFLOW_PORT]


def test_what_down_ended_stays_down(platform: Platform) -> None:
    assert set(bring_down(platform.state, lambda _: None)) == {"prefect", "worker"}
    assert "`down` ended the prefect" in platform.revive()
    # What another `up` started since is not forgotten.
    other = Platform(platform.state, lambda _: None)
    other._launch(Service("worker", "worker", SLEEPER, dict(os.environ)))
    try:
        assert platform.revive()
        platform.stop_started()
        assert other.register.read() == other.started and other.revive() == ""
    finally:
        other.stop_started()
    assert not platform.register.file.exists()


def test_a_server_or_worker_that_is_not_as_it_should_be_is_named(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.0)
    platform.api = "http://127.0.0.1:9/api"
    theirs = running(platform, "worker", "http://elsewhere:4200/api")
    with pytest.raises(PrerequisiteError, match=r"takes runs from http://elsewhere.*down"):
        platform._worker(theirs, 1)
    mute = running(platform, "prefect", "http://127.0.0.1:9/api")
    with pytest.raises(PrerequisiteError, match=rf"process {mute.pid}\) gives no answer"):
        platform._prefect(mute, 4200)


def test_while_another_command_is_at_work_reviving_waits_and_stopping_does_not(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(launch, "REVIVE_SECONDS", 0.05)
    family = [psutil.Process(one.pid) for one in platform.started.values()]
    with changing(platform.state):
        family[0].kill()
        psutil.wait_procs(family[:1], timeout=60)
        assert platform.revive() == "" and set(platform.started) == {"prefect", "worker"}
        platform.stop_started()
    assert not platform.started and not platform.register.read()
    assert not any(one.is_running() and one.status() != "zombie" for one in family)


def test_options_that_come_too_late_are_named(
    platform: Platform, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "prefect_answers", lambda *_: True)
    server = running(platform, "prefect", "http://127.0.0.1:4200/api")
    platform._prefect(server, 4300)
    assert "--prefect-port 4300 has no effect on what runs already, it stays 4200" in shown[-1]
    platform._prefect(server, None)
    platform._prefect(server, 4200)
    assert sum("no effect" in line for line in shown) == 1

    processes.stop(platform.started["worker"])
    platform._launch(Service("worker", "worker", (*SLEEPER, "--limit", "4"), dict(os.environ)))
    platform._worker(platform.started["worker"], 7)
    assert "--runs 7 has no effect on what runs already, it stays 4" in shown[-1]
    platform._worker(platform.started["worker"], 4)
    assert shown[-1] == "worker: runs already"


def test_a_deploy_that_takes_too_long_is_no_fault_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nothing:
        def read_variable_by_name(self, _name: str) -> None:
            return None

    @contextmanager
    def nobody(_api: str, _login: str) -> Iterator[Nothing]:
        yield Nothing()

    monkeypatch.setattr(provisioning, "client_of", nobody)
    monkeypatch.setattr(provisioning, "DEPLOY_SECONDS", 0.01)
    with pytest.raises(PrerequisiteError, match="`prefect deploy --all` did not finish within"):
        provisioning.deploy_all("http://127.0.0.1:9/api")


def test_a_pool_whose_folder_is_another_machine_s_is_named(tmp_path: Path) -> None:
    def template(folder: str | None) -> dict[str, Any]:
        return pools.closed({"variables": {"properties": {"working_dir": {"default": folder}}}})

    for fine in (pools.WORKERS_FOLDER, str(tmp_path), None):
        pools.require_folder(template(fine))
    with pytest.raises(PrerequisiteError, match=r"starts its runs in .*elsewhere, which is no"):
        pools.require_folder(template(str(tmp_path / "elsewhere")))
