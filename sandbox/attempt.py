"""Run one job to its end: the brokers' reports, the kernel's verdict, the scores."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.codes import Code
from sandbox.container import Container, ContainerLostError, Ended, Order
from sandbox.readout import Readout
from sandbox.verdicts import Scores


class Containers(Protocol):
    """Where containers come from and go to: a pool, or those of one program."""

    def take(self) -> Container:
        """Wait for a container; it is discarded afterwards."""
        ...

    def discard(self, container: Container) -> None:
        """Take a container back that has run a job."""
        ...


@dataclass
class Attempt:
    """The outcome of a job.

    Args:
        ended: The last broker's answer; None when none came.
        lost: Why no proper answer came; None when one did.
        oom: The kernel killed something in the container for lack of memory.
        runs: The numbers, when every broker reported success.
        failure: What is wrong with them, None when nothing is.
        seconds: Host clock, excluding the wait for containers.
        raw: What each run wrote, all layers in one row.
    """

    ended: Ended | None = None
    lost: ContainerLostError | None = None
    oom: bool = False
    runs: Readout | None = None
    failure: tuple[Code, str] | None = None
    seconds: float = 0.0
    raw: list[Scores] = field(default_factory=list)


def attempt(containers: Containers, order: Order, distinct: int) -> Attempt:
    """Execute every run of an order, each in a container of its own.

    The runs are sequential, and each container is gone before the next one gets its job: equal
    results mean something only if the runs cannot communicate, neither through a file nor through
    counters of a shared container.
    """
    tried = Attempt()
    for run in range(len(order.runs)):
        container = containers.take()
        start = time.perf_counter()
        try:
            good = _run(container, order, run, tried)
        finally:
            containers.discard(container)
        tried.seconds += time.perf_counter() - start
        if not good:
            return tried
    start = time.perf_counter()
    tried.runs = Readout(order, tried.raw, distinct)
    tried.failure = tried.runs.failure()
    tried.seconds += time.perf_counter() - start
    return tried


def _run(container: Container, order: Order, run: int, tried: Attempt) -> bool:
    tried.ended = None
    try:
        tried.ended = container.run(order, run)
    except ContainerLostError as error:
        tried.lost = error
    # Ask while the container still exists: a kill by the kernel outranks what was reported.
    tried.oom = container.state().oom
    if tried.ended is None or tried.ended.code != "ok" or tried.oom:
        return False
    try:
        tried.raw.append(container.take_scores(order.count, keep=order.keep))
    except ContainerLostError as error:
        tried.lost = error
        return False
    if run + 1 < len(order.runs):
        container.end()
    return True
