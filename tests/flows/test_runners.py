"""Candidates measured by workers: the same graph as in one process."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import PrerequisiteError
from flows.runners import workers
from flows.search import opening as searching
from flows.search import search
from flows.search.params import SearchParams
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


def test_a_missing_package_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'autoprune\[dask\]'"):
        workers("dask", 2, None, {}).__enter__()


def test_thread_needs_nothing() -> None:
    with workers("thread", 2, None, {}) as found:
        assert found is None


def test_the_runner_is_no_part_of_the_search(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"model": "m", "corpus": "c"}
    assert SearchParams(**plain, runner="dask").run_id() == SearchParams(**plain).run_id()
    assert search.name == "search"
