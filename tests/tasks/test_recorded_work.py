"""Work as task runs: any object in and out, a name that Prefect shows, errors as they are."""

import shutil
import threading
from pathlib import Path

import pytest
import torch
from prefect import flow

from flows.platform.api_server import private_api
from tasks.recorded import recorded, short_paths, task_run
from tasks.state import State


def test_outside_a_flow_it_is_a_call() -> None:
    lock = threading.Lock()
    assert recorded("measure", "measure one", lambda: lock)() is lock
    with pytest.raises(KeyError):
        recorded("measure", "measure one", lambda: {}["missing"])()


@pytest.mark.slow
def test_in_a_flow_objects_pass_and_names_are_shown(
    tmp_path: Path, prefect_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    state = State.open(tmp_path / "state")
    state.prefect.mkdir()
    shutil.copy(prefect_template, state.prefect / "prefect.db")
    monkeypatch.setenv("PREFECT_HOME", str(state.prefect))
    lock, weights = threading.Lock(), torch.ones(3)
    seen: list[str] = []

    def work() -> tuple[object, torch.Tensor]:
        from prefect.context import TaskRunContext

        context = TaskRunContext.get()
        assert context is not None
        seen.extend((context.task.name, context.task_run.name))
        return lock, weights

    @flow
    def searching() -> None:
        out, tensor = recorded("measure", f"measure {{x}} in {tmp_path / 'tiny'}", work)()
        assert out is lock and tensor is weights
        with pytest.raises(KeyError):
            recorded("measure", "measure two", lambda: {}["missing"])()
        assert held(lock, [str(tmp_path / "tiny"), "hub"]) is lock

    @task_run("hold", "hold {where} {times} times")
    def held(lock: object, where: list[str], times: int = 2) -> object:
        from prefect.context import TaskRunContext

        context = TaskRunContext.get()
        assert context is not None
        seen.extend((context.task.name, context.task_run.name))
        return lock

    with private_api(state) as server:
        assert server is not None and server.wait()
        searching()
    assert seen == ["measure", "measure {x} in tiny", "hold", "hold tiny, hub 2 times"]


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("open /data/models/tiny", "open tiny"),
        ("load ./models/tiny/", "load tiny"),
        ("save to ~/pruned", "save to pruned"),
        ("perplexity on /data/a.txt,/data/b.txt", "perplexity on a.txt,b.txt"),
        ("load package:module/model.Q4.gguf", "load package:module/model.Q4.gguf"),
        ("load organisation/model", "load organisation/model"),
        ("prune with expr:abs(W) / row_sum(abs(W))", "prune with expr:abs(W) / row_sum(abs(W))"),
        ("read s3://bucket/folder/file", "read s3://bucket/folder/file"),
    ],
)
def test_paths_in_names_are_short(long: str, short: str) -> None:
    assert short_paths(long) == short
