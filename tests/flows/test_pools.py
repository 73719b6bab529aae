"""Two projects on one server: their deployments, runs and searches of one name stay apart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from autoprune.errors import PrerequisiteError, UsageError
from flows.platform.pools import (
    POOL,
    POOL_VARIABLE,
    chosen_pool,
    deployment_name,
    remember_pool,
    worker_path,
)
from flows.platform.processes import Running
from flows.resume import stale_search_runs
from flows.up import launch
from flows.up.launch import Platform
from flows.up.provisioning import deployments_file, deployments_text
from tasks.state import State, folder_tag


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.delenv(POOL_VARIABLE, raising=False)
    return State.open(tmp_path / "state")


def test_the_pool_is_asked_for_set_remembered_or_the_usual(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen_pool(state) == POOL
    remember_pool(state, "second")
    assert chosen_pool(state) == "second"
    monkeypatch.setenv(POOL_VARIABLE, "third")
    assert chosen_pool(state) == "third"
    assert chosen_pool(state, "fourth") == "fourth"


@pytest.mark.parametrize("name", ["Big", "a/b", "", "prefect-mine", "-a", "a" * 41, "a b"])
def test_other_names_are_refused(name: str, state: State) -> None:
    if name:
        with pytest.raises(UsageError, match="lower-case letters"):
            chosen_pool(state, name)
    else:
        assert chosen_pool(state, name) == POOL


def test_deployments_of_another_pool_have_other_names() -> None:
    file = deployments_file().read_text(encoding="utf-8")
    assert deployments_text(POOL) == file
    ours: list[Any] = yaml.safe_load(file)["deployments"]
    theirs: list[Any] = yaml.safe_load(deployments_text("second"))["deployments"]
    assert {each["work_pool"]["name"] for each in theirs} == {"second"}
    assert [each["name"] for each in theirs] == [f"{each['name']}-second" for each in ours]
    for mine, other in zip(ours, theirs, strict=True):
        renamed = {"name": mine["name"], "work_pool": mine["work_pool"]}
        assert other | renamed == mine
    assert deployment_name("manual", POOL) == "manual"


def test_a_worker_finds_its_own_interpreter_first() -> None:
    first, *rest = worker_path("/usr/bin:/bin").split(":")
    assert (Path(first) / "python3").exists() and rest == ["/usr/bin", "/bin"]
    assert worker_path(None) == first


def test_a_worker_of_another_pool_is_not_deployed_past(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_worker_option", lambda *_: "second")
    worker = Running(1, 0.0, "", "")
    Platform(state, print, "second")._require_pool(worker)
    Platform(state, print)._require_pool(None)
    with pytest.raises(PrerequisiteError, match="takes runs of the pool 'second' and not of 'auto"):
        Platform(state, print)._require_pool(worker)


def flow_run(pool: str | None, *tags: str) -> Any:
    return SimpleNamespace(work_pool_name=pool, tags=tags, parent_task_run_id=None)


def test_a_search_of_the_same_name_in_another_project_is_left_alone(
    state: State, tmp_path: Path
) -> None:
    other = State.open(tmp_path / "other")
    assert folder_tag(state) == folder_tag(state) != folder_tag(other)
    mine = [flow_run(POOL), flow_run(None, folder_tag(state)), flow_run(None, "gpu")]
    theirs = [flow_run("second"), flow_run(None, folder_tag(other))]
    nobody: Any = None
    for run in mine:
        assert stale_search_runs._of_this_folder(nobody, run, state)
    for run in theirs:
        assert not stale_search_runs._of_this_folder(nobody, run, state)
