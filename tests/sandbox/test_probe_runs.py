"""A probe scores in two containers, and what the first run did cannot reach the second."""

from pathlib import Path

import pytest

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.limits import Limits
from sandbox.outcomes import Rejected

pytestmark = pytest.mark.docker

FIRST_PROCESS = """
import os
def score(W, stats, params):
    raise ValueError(f"PID {os.getpid()} END")
"""
# The number of a process tells how many were started before it: run 0 draws a hundredth and starts
# so many times sixteen threads, and run 1, in the same container, would count them, give or take
# the few that the container starts for itself.
TELLS_BY_COUNTING = """
import os, threading
def start():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
number = (os.getpid() - FIRST + 8) // 16
if number <= 0:
    number = 1 + int.from_bytes(os.urandom(2), "little") % 100
    for _ in range(16 * number): start()
def score(W, stats, params):
    return W.abs() * number
"""


def test_the_runs_of_a_probe_cannot_talk_to_each_other(layer_folder: Path) -> None:
    limits = Limits(probe_s=30, score_s=30, warm=1)
    with Sandbox(
        inputs=layer_folder, image="bind", limits=limits, run_id="talk", screening=False
    ) as box:
        answer = box.probe(FIRST_PROCESS)
        assert isinstance(answer, Rejected)
        first = answer.detail.partition("PID ")[2].partition(" END")[0]
        # Both runs may draw the same one of a hundred numbers, hardly three times in a row.
        for _ in range(3):
            outcome = box.probe(TELLS_BY_COUNTING.replace("FIRST", first))
            if isinstance(outcome, Rejected):
                break
    assert isinstance(outcome, Rejected), "three times both runs had the same number"
    # The second where the number of the first process itself differed between two looks.
    assert outcome.code in (Code.NONDETERMINISTIC, Code.DEPENDS_ON_BATCH)
