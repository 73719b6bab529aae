"""Which containers are made ahead, and which only when somebody asks."""

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.candidate import Candidate
from sandbox.errors import SandboxUnavailableError
from sandbox.limits import Limits
from sandbox.pool import Pool
from tasks import prune, sandbox_scorer


class Made:
    """A container that waits for ever."""

    expires, is_usable = math.inf, True

    def __init__(self, made: list["Made"]) -> None:
        made.append(self)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_with_none_kept_ready_as_many_are_made_as_are_taken(taken: int) -> None:
    made: list[Made] = []
    make: Any = lambda: Made(made)  # noqa: E731
    pool = Pool(make, 0, 1.0)
    for _ in range(taken):
        pool.discard(pool.take())
    # Waits for one that is being made.
    pool.close()
    assert len(made) == taken and all(one.closed == 1 for one in made)


def test_all_who_wait_hear_that_none_can_be_made() -> None:
    asked = threading.Event()

    def make() -> Any:
        asked.wait(20)
        raise SandboxUnavailableError("the daemon is away")

    pool = Pool(make, 0, 1.0)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(pool.take) for _ in range(2)]
        while pool._wanted < 2:
            time.sleep(0.01)
        asked.set()
        for one in waiting:
            with pytest.raises(SandboxUnavailableError, match="the daemon is away"):
                one.result(timeout=20)
    pool.close()


def test_no_more_are_kept_ready_than_are_used_or_cores_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    class OpenedError(Exception):
        def __init__(self, *, limits: Limits, **_: object) -> None:
            kept.append(limits.warm)
            raise self

    monkeypatch.setattr(sandbox_scorer, "Sandbox", OpenedError)
    for cores in (1, 2, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        with pytest.raises(OpenedError):
            _ = sandbox_scorer.SandboxScorer(tmp_path, "run").sandbox
    mine = Candidate("python", "def score(W, stats, params):\n    return W.abs()\n")
    bench: Any = SimpleNamespace(state=SimpleNamespace(inputs=tmp_path / "inputs"))
    plan: Any = SimpleNamespace(needs=frozenset())
    with pytest.raises(OpenedError), prune._container(bench, mine, plan):
        pass
    assert kept == [1, 2, 3, 1]
