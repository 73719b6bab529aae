"""Candidates measured by workers, of Dask or Ray too: the same graph as in one process."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import PrerequisiteError
from flows.runners import RUNNERS, workers
from flows.search import opening as searching
from flows.search import search
from flows.search.params import SearchParams
from flows.terminal import console
from tasks import steps
from tests.support.command_line import CommandLine
from tests.support.inline_workers import Inline
from tests.support.own_state import module_state
from tests.support.small_search import FEW, LINE, graph, small

ASKED = f"{LINE} {FEW} --designer random --candidates 3 --slots 3 --no-register-winner"


def nothing_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the search's own process neither validates nor measures."""

    def wrong(*_: Any) -> None:
        raise AssertionError("in the search's own process")

    for name in ("measure", "validate"):
        monkeypatch.setitem(steps.WORK, name, wrong)


@dataclass(frozen=True)
class Found:
    """What a search found: the digest of its graph, and its leaderboard as its record has it."""

    graph: str
    leaderboard: Any


@pytest.fixture(scope="module")
def here(
    tiny_folder: Path, text_file: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Found:
    """The same search, done in one process."""
    with module_state(tmp_path_factory.mktemp("here"), empty_store):
        params = small(
            tiny_folder, text_file, pattern="2:4", repairs="none", candidates=3, slots=3,
            register_winner=False, run="here",
        )  # fmt: skip
        record = json.loads(json.dumps(search.fn(params)["leaderboard"]))
        return Found(graph("here"), record)


def test_workers_that_answer_in_another_order_give_the_same_graph(
    here: Found, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_done_here(monkeypatch)
    inline = Inline()
    monkeypatch.setattr(searching, "workers", inline.started)
    record = cli.record(f"{ASKED} --run there")
    assert len(inline.done) == len(set(inline.done)) > 3
    assert Found(graph("there"), record["leaderboard"]) == here


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_workers_give_the_same_graph(
    kind: str, here: Found, cli: CommandLine, migrated: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip(f"prefect_{kind}")
    nothing_is_done_here(monkeypatch)
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "on")
    shared = f"--shared-store file://{tmp_path / 'shared'}"
    record = cli.record(f"{ASKED} --run there --runner {kind} --workers 1 {shared}")
    assert Found(graph("there"), record["leaderboard"]) == here
    assert list((tmp_path / "shared").rglob("*.safetensors"))


def test_a_missing_package_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "ray", ("no_such_package_here", "Runner"))
    with pytest.raises(PrerequisiteError, match=r"pip install 'autoprune\[ray\]'"):
        workers("ray", 2, None, {}).__enter__()


@pytest.mark.parametrize(("count", "shown"), [(0, True), (1, False)])
def test_a_cluster_without_workers_is_waited_for_aloud(
    count: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster
    from prefect.context import FlowRunContext

    events: list[str] = []
    monkeypatch.setattr(type(console.screen()), "event", lambda _, text: events.append(text))
    # A recorded flow, for which Prefect would start a server.
    monkeypatch.setattr(FlowRunContext, "get", lambda: "a flow")
    with LocalCluster(n_workers=count, processes=False, dashboard_address=None) as cluster:
        with workers("dask", 2, cluster.scheduler_address, {}) as found:
            assert found is not None
        assert events == [text for text in events if cluster.scheduler_address in text]
    assert any("has no workers yet" in text for text in events) is shown


def test_a_ray_cluster_of_this_machine_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "ray", ("no_such_package_here", "Runner"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        # Set first, so that what the runner sets is taken back at the end.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with pytest.raises(PrerequisiteError):
        workers("ray", 2, "ray://elsewhere:10001", {}).__enter__()
    assert "RAY_AUTH_TOKEN" not in os.environ
    with pytest.raises(PrerequisiteError):
        workers("ray", 2, None, {}).__enter__()
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_thread_needs_nothing() -> None:
    with workers("thread", 2, None, {}) as found:
        assert found is None


def test_the_runner_is_no_part_of_the_search(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"model": "m", "corpus": "c"}
    assert SearchParams(**plain, runner="dask").run_id() == SearchParams(**plain).run_id()
    assert search.name == "search"
