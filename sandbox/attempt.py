"""One job to its end: the brokers' reports, the kernel's verdict, the numbers."""

import time
from dataclasses import dataclass, field

from sandbox.cell import Cell, CellLostError, Ended, Order
from sandbox.codes import Code
from sandbox.pool import Pool
from sandbox.readout import Readout
from sandbox.verdicts import Scores


@dataclass
class Attempt:
    """What came of a job.

    Args:
        ended: The last broker's answer; None when none came.
        lost: Why no proper answer came; None when one did.
        oom: The kernel ended something in the container for memory.
        runs: The numbers, when every broker reported success.
        failure: What is wrong with them, None when nothing is.
        seconds: Host clock, waiting for containers not counted.
        raw: What each run wrote, all layers in one row.
    """

    ended: Ended | None = None
    lost: CellLostError | None = None
    oom: bool = False
    runs: Readout | None = None
    failure: tuple[Code, str] | None = None
    seconds: float = 0.0
    raw: list[Scores] = field(default_factory=list)


def attempt(pool: Pool, order: Order, distinct: int) -> Attempt:
    """Do every run of an order, each in a container that has run nothing else.

    One after the other, and the container of the first is gone before the next gets its job: equal
    results mean something only when the runs cannot talk to each other, neither by a file nor by
    counters of a shared container.

    Args:
        pool: Where the containers come from.
        order: What to do.
        distinct: Distinct scores wanted per layer.

    Raises:
        SandboxBrokenError: If the inputs cannot be handed over or the daemon is gone.
    """
    tried = Attempt()
    for run in range(len(order.runs)):
        cell = pool.take()
        start = time.perf_counter()
        try:
            good = _run(cell, order, run, tried)
        finally:
            pool.discard(cell)
        tried.seconds += time.perf_counter() - start
        if not good:
            return tried
    start = time.perf_counter()
    tried.runs = Readout(order, tried.raw, distinct)
    tried.failure = tried.runs.failure()
    tried.seconds += time.perf_counter() - start
    return tried


def _run(cell: Cell, order: Order, run: int, tried: Attempt) -> bool:
    tried.ended = None
    try:
        tried.ended = cell.run(order, run)
    except CellLostError as error:
        tried.lost = error
    # Asked while the container is still there: what the kernel killed outranks what was reported.
    tried.oom = cell.state().oom
    if tried.ended is None or tried.ended.code != "ok" or tried.oom:
        return False
    try:
        tried.raw.append(cell.take_scores(order.count))
    except CellLostError as error:
        tried.lost = error
        return False
    if run + 1 < len(order.runs):
        cell.end()
    return True
