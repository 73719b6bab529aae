"""The container that attacks share: nothing of one job reaches the next, and damage is noticed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from tests.support.shared_container import HONEST, SharedPool

pytestmark = pytest.mark.docker

FORGED = """
import os, struct
def score(W, stats, params):
    up = stats["x_norm"].numel() == 64
    for i in range(7) if up else range(6, -1, -1):
        os.write(3, struct.pack("<4sII", b"LAYR", i, 0))
    os._exit(0)
"""
LISTED = """
import os
def score(W, stats, params):
    raise ValueError(f"{len(os.listdir('/in'))} files")
"""


@pytest.fixture
def shared(layer_folder: Path) -> Iterator[tuple[Sandbox, SharedPool]]:
    limits = Limits(probe_s=30, warm=0)
    with Sandbox(
        inputs=layer_folder, image="bind", limits=limits, run_id="shared", screening=False
    ) as box:
        yield box, SharedPool(box)


def code(outcome: Accepted | Rejected) -> str:
    return outcome.code if isinstance(outcome, Rejected) else "accepted"


def test_a_job_finds_nothing_of_an_earlier_one(shared: tuple[Sandbox, SharedPool]) -> None:
    box, pool = shared
    assert code(box.probe(HONEST)) == "accepted"
    # Where nothing is written, the right scores of the job before do not stand either.
    assert code(box.probe(FORGED)) == Code.NAN_SCORES
    listed = box.probe(LISTED)
    assert isinstance(listed, Rejected) and "7 files" in listed.detail
    assert code(box.probe(HONEST)) == "accepted"
    assert pool.made == 1


def test_a_container_that_may_have_suffered_is_replaced(
    shared: tuple[Sandbox, SharedPool],
) -> None:
    box, pool = shared
    # The broker answers while the process still runs.
    flood = "def score(W, stats, params):\n    while True: print('x' * 1000)\n"
    assert code(box.probe(flood)) == Code.OUTPUT_FLOOD
    assert code(box.probe(HONEST)) == "accepted" and pool.made == 2
    assert pool._shared is not None
    box._engine.remove(pool._shared.cell.id)
    assert code(box.probe(HONEST)) == "accepted" and pool.made == 3


def test_a_wrong_score_of_an_honest_job_is_no_reason_to_go_on(
    shared: tuple[Sandbox, SharedPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, _ = shared
    box.probe(HONEST)
    monkeypatch.setattr(np, "abs", np.negative)
    with pytest.raises(AssertionError):
        box.probe(HONEST)
