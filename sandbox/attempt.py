"""One job in one container, to its end: what the broker said, the kernel's word, the numbers."""

import time
from dataclasses import dataclass

from sandbox.cell import Cell, CellLost, Ended, Order
from sandbox.codes import Code
from sandbox.readout import Readout


@dataclass(frozen=True)
class Attempt:
    """What came of a job.

    Args:
        ended: The broker's answer; None when none came.
        lost: Why no proper answer came; None when one did.
        oom: The kernel ended something in the container for memory.
        runs: The numbers, when the broker said that all is well.
        failure: What is wrong with them, None when nothing is.
        seconds: Host clock.
    """

    ended: Ended | None
    lost: CellLost | None
    oom: bool
    runs: Readout | None
    failure: tuple[Code, str] | None
    seconds: float


def attempt(cell: Cell, order: Order, distinct: int) -> Attempt:
    """Run a job; the cell must be discarded afterwards.

    Args:
        cell: A container that has not run anything.
        order: What to do.
        distinct: Distinct scores wanted per layer.

    Raises:
        SandboxBroken: If the inputs cannot be handed over or the daemon is gone.
    """
    start = time.perf_counter()
    ended: Ended | None = None
    lost: CellLost | None = None
    runs: Readout | None = None
    try:
        ended = cell.run(order)
    except CellLost as error:
        lost = error
    # Asked while the container is still there: what the kernel killed decides over what was said.
    oom = cell.state().oom
    if ended is not None and ended.code == "ok" and not oom:
        try:
            runs = Readout(order, cell, distinct)
        except CellLost as error:
            lost = error
    failure = None if runs is None else runs.failure()
    return Attempt(ended, lost, oom, runs, failure, time.perf_counter() - start)
