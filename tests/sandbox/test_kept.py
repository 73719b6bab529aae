"""Containers that stay from block to block of one program: what is shared, and what is not."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.container import Container, LayerInput
from sandbox.kept import KeptContainers
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from tasks.programs import shared_out
from tests.support.jobs_in_containers import containers

RUN = "kept"
# Without the screen, a program may look around: how many files its job shows, and whether an
# earlier call left something in the toolbox. Its own weights say what it has to do.
CURIOUS = """
import fcntl
import os
import struct
import toolbox

def prune_layer(W, stats, budget, params):
    left = float(hasattr(toolbox, "left")) + os.lseek(4, 0, os.SEEK_CUR)
    left += fcntl.fcntl(4, fcntl.F_GETFL) & os.O_NONBLOCK
    toolbox.left = True
    os.lseek(4, 99, os.SEEK_SET)
    fcntl.fcntl(4, fcntl.F_SETFL, os.O_NONBLOCK)
    if W[0, 0] == 1.0:
        return W * 0 + 7.0
    if W[0, 0] == 2.0:
        # Claims to have written its result.
        os.write(3, struct.pack("<4sII", b"LAYR", 0, 0))
        os._exit(0)
    if W[0, 0] == 3.0:
        raise RuntimeError("broken on purpose")
    return W * 0 + 10 * left + len(os.listdir("/in"))
"""


def layer(folder: Path, mark: float) -> LayerInput:
    from safetensors.numpy import save_file

    path = folder / f"{mark}.safetensors"
    weight = np.zeros((4, 8), np.float32)
    weight[0, 0] = mark
    save_file({"W": weight}, path)
    path.chmod(0o444)
    return LayerInput(path, (4, 8), {"group": "matrix", "zeros": 0})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Container]:
    """Every container that is made meanwhile."""
    cells: list[Container] = []
    original = Sandbox._make_container

    def make(box: Sandbox) -> Container:
        cells.append(original(box))
        return cells[-1]

    monkeypatch.setattr(Sandbox, "_make_container", make)
    return cells


@pytest.fixture
def box(tmp_path: Path, made: list[Container]) -> Iterator[Sandbox]:
    limits = Limits(probe_s=20, score_s=20, warm=0)
    with Sandbox(inputs=tmp_path, limits=limits, run_id=RUN, screening=False) as sandbox:
        yield sandbox


def ran(box: Sandbox, *layers: LayerInput, source: str = CURIOUS) -> Accepted | Rejected:
    return box.prune_layers(source, layers, wall_s=20)


@pytest.mark.docker
def test_the_calls_of_a_program_share_a_container_and_nothing_else(
    box: Sandbox, made: list[Container], tmp_path: Path
) -> None:
    several, sevens, forged = [layer(tmp_path, mark) for mark in (0.0, 0.5)], 1.0, 2.0
    for _ in range(2):
        outcome = ran(box, *several)
        assert isinstance(outcome, Accepted), outcome
        # Two files are shown, those of this call; nothing is left of another layer's.
        assert [set(np.unique(weights)) for weights in outcome.scores] == [{2.0}, {2.0}]
    outcome = ran(box, layer(tmp_path, sevens))
    assert isinstance(outcome, Accepted) and set(np.unique(outcome.scores[0])) == {7.0}
    # What was not written is not what an earlier call wrote.
    outcome = ran(box, layer(tmp_path, forged))
    assert isinstance(outcome, Accepted) and not np.any(outcome.scores[0])
    assert len(made) == 1 and len(containers(RUN)) == 1
    # With another constant it is another program.
    assert isinstance(box.prune_layers(CURIOUS, several, {"a": 1.0}, wall_s=20), Accepted)
    assert isinstance(ran(box, *several, source=CURIOUS + "\n"), Accepted)
    assert len(made) == 3
    box.let_go()
    assert isinstance(ran(box, *several), Accepted)
    assert len(made) == 4


@pytest.mark.docker
def test_a_container_in_which_something_failed_is_not_kept(
    box: Sandbox, made: list[Container], tmp_path: Path
) -> None:
    for number in (1, 2):
        outcome = ran(box, layer(tmp_path, 3.0))
        assert isinstance(outcome, Rejected) and outcome.code is Code.EXCEPTION
        assert len(made) == number
    outcome = ran(box, layer(tmp_path, 0.0))
    assert isinstance(outcome, Accepted)
    # A container that ended meanwhile is replaced.
    made[-1].end()
    outcome = ran(box, layer(tmp_path, 0.0))
    assert isinstance(outcome, Accepted) and set(np.unique(outcome.scores[0])) == {1.0}
    assert len(made) == 4


class Waiting:
    """Stands for a container: whether it can be renewed, and how long it lives."""

    def __init__(self, *, renews: bool = True, lasts: bool = True) -> None:
        self.renews, self.lasts, self.closed = renews, lasts, 0

    def renew(self) -> bool:
        return self.renews


class Given:
    """Stands for a pool: hands out what it is given."""

    def __init__(self, *cells: Waiting) -> None:
        self.cells = list(cells)

    def take(self) -> Waiting:
        return self.cells.pop(0)

    def lasts(self, cell: Waiting) -> bool:
        return cell.lasts

    def discard(self, cell: Waiting) -> None:
        cell.closed += 1


def test_only_a_sound_container_of_the_same_program_is_handed_out_again() -> None:
    one, two, spoilt, new = Waiting(), Waiting(), Waiting(renews=False), Waiting()
    pool: Any = Given(one, two, spoilt, new)
    kept = KeptContainers(pool)
    first, second = kept.of("first"), kept.of("second")
    cell = first.take()
    assert cell is one
    first.discard(cell)
    assert second.take() is two and first.take() is one
    first.discard(one)
    one.lasts = False
    # Too old for another job.
    assert first.take() is spoilt and one.closed == 1
    first.discard(spoilt)
    assert spoilt.closed == 1 and first.take() is new
    first.discard(new)
    kept.let_go()
    assert (new.closed, two.closed) == (1, 0)


@pytest.mark.parametrize(("work", "count", "shares"), [
    ([1.0], 2, [[0]]),
    ([1.0, 1.0, 1.0, 5.0], 2, [[0, 1, 2], [3]]),
    ([4.0, 3.0, 2.0, 1.0], 1, [[0, 1, 2, 3]]),
    ([4.0, 3.0, 2.0, 1.0], 2, [[0, 3], [1, 2]]),
])  # fmt: skip
def test_jobs_are_shared_out_by_their_work(
    work: list[float], count: int, shares: list[list[int]]
) -> None:
    assert shared_out(work, count) == shares
    assert math.fsum(work) == math.fsum(work[job] for share in shares for job in share)
