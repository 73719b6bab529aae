"""Candidates measured on Dask or Ray: the same graph as in one process; the shared store."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import DamagedFileError, PrerequisiteError, UsageError
from autoprune.search.search import Search
from autoprune.store import Store, Stored
from flows.cli import main
from flows.params import SearchParams
from flows.runners import RUNNERS, workers
from flows.search import search
from flows.terminal import console
from tasks import steps
from tasks.shared import SharedStore, open_store
from tasks.state import State


def words(params: SearchParams, *more: str) -> list[str]:
    """The command line of a small search."""
    line = f"""search --model {params.model} --corpus {params.corpus} --designer random
      --sandbox off --calibration-windows 4 --seqlen 48 --selection-windows 4 --rung-windows 2
      --sealed-windows 3
      --candidates 3 --slots 3 --no-register-winner --json -q --run {params.run}"""
    return [*line.split(), *more]


def graph(run: str) -> str:
    """Digest of a run's reasoning graph: all figures are in it."""
    with Search.open(State.open().run(run)) as found:
        return found.graph.digest


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_workers_give_the_same_graph(
    kind: str,
    tiny_folder: Path,
    text_file: Path,
    migrated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(f"prefect_{kind}")
    here = SearchParams(model=str(tiny_folder), corpus=str(text_file), run="here")
    there = here.model_copy(update={"run": "there"})
    assert main(words(here)) == 0
    first = json.loads(capsys.readouterr().out)
    used: list[str] = []
    for name in ("measure", "validate"):
        monkeypatch.setitem(steps.WORK, name, lambda *_: used.append("in the search's own process"))
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "on")
    shared = f"file://{tmp_path / 'shared'}"
    more = ("--runner", kind, "--workers", "2", "--shared-store", shared)
    assert main(words(there, *more)) == 0
    second = json.loads(capsys.readouterr().out)
    assert not used
    assert graph("there") == graph("here")
    assert second["leaderboard"] == first["leaderboard"]
    assert list((tmp_path / "shared").rglob("*.safetensors"))


def test_a_missing_package_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "ray", ("no_such_package_here", "Runner"))
    with pytest.raises(PrerequisiteError, match=r"pip install 'autoprune\[ray\]'"):
        workers("ray", 2, None, {}).__enter__()


@pytest.mark.parametrize(("count", "said"), [(0, True), (1, False)])
def test_a_cluster_without_workers_is_waited_for_aloud(
    count: int, said: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster
    from prefect import flow

    told: list[str] = []
    monkeypatch.setattr(type(console.screen()), "event", lambda _, text: told.append(text))

    @flow
    def waiting(address: str) -> None:
        with workers("dask", 2, address, {}) as found:
            assert found is not None

    with LocalCluster(n_workers=count, processes=False, dashboard_address=None) as cluster:
        waiting(cluster.scheduler_address)
        assert told == [text for text in told if cluster.scheduler_address in text]
    assert any("has no workers yet" in text for text in told) is said


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


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Store]:
    url = f"file://{tmp_path / 'shared'}"
    return lambda machine: SharedStore(tmp_path / machine, url)


def test_what_one_machine_made_the_next_one_reads(make: Callable[[str], Store]) -> None:
    made: list[int] = []

    def work() -> Stored:
        made.append(1)
        return Stored({"x": torch.arange(4.0)}, {"tokens": 4})

    for machine in ("a", "b", "a"):
        found = make(machine).get_or_make({"what": "statistics"}, work)
        assert torch.equal(found.tensors["x"], torch.arange(4.0)) and found.meta == {"tokens": 4}
    assert made == [1]


def work() -> Stored:
    return Stored({"x": torch.arange(4.0)})


def test_a_copy_that_changed_on_the_way_is_found(
    make: Callable[[str], Store], tmp_path: Path
) -> None:
    make("a").get_or_make({"what": "statistics"}, work)
    (path,) = (tmp_path / "shared").rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError):
        make("b").get_or_make({"what": "statistics"}, work)


def test_half_a_copy_is_never_taken_for_a_file(
    make: Callable[[str], Store], tmp_path: Path
) -> None:
    make("a").get_or_make({"what": "statistics"}, work)
    second: Any = make("b")
    whole = second._files.get_file

    def torn(source: str, target: str) -> None:
        whole(source, target)
        if source.endswith(".json"):
            Path(target).write_text("{")
            raise OSError("the line is dead")

    second._files.get_file = torn
    try:
        with pytest.raises(OSError, match="the line is dead"):
            second.get_or_make({"what": "statistics"}, work)
    finally:
        second._files.get_file = whole
    assert not list((tmp_path / "b").rglob("*.json"))
    found = make("b").get_or_make({"what": "statistics"}, work)
    assert torch.equal(found.tensors["x"], torch.arange(4.0))


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    state = State.open(tmp_path / "state")
    assert open_store(state, None).root == state.store
    assert open_store(state, str(tmp_path / "shared")).root == tmp_path / "shared"
    with pytest.raises(UsageError, match="cannot be opened"):
        open_store(state, "nosuch://place")


def test_the_runner_is_no_part_of_the_search(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"model": "m", "corpus": "c"}
    assert SearchParams(**plain, runner="dask").run_id() == SearchParams(**plain).run_id()
    assert search.name == "search"
