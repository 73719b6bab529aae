"""Sharing the machine: waiting threads yield the processor, and slowdowns are reported.

The number of compute threads is torch's own choice, or that of ``OMP_NUM_THREADS``: another number
adds sums in another order, and a resumed search would not reproduce its own figures.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

# Read by OpenMP when torch is imported.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
LOOK_SECONDS = 60.0
# Containers that ended between two samples are missed, so that those come often.
SAMPLE_SECONDS = 3.0
# The first look comes early, so that a run learns at once that it shares the machine.
FIRST_SECONDS = 10.0
# At most one line about others in this time.
QUIET_SECONDS = 600.0
# Worth a line: processors taken by others, and the share of all processors taken.
LEAST_OTHERS = 0.5
FULL = 0.9


def wait_passively() -> None:
    """Let threads that wait for work sleep, in this process and those it starts.

    By default they spin, and two spinning programs take many times as long side by side. Values
    that the user has set stay. Call this before torch is imported.
    """
    for name, value in PASSIVE.items():
        os.environ.setdefault(name, value)


def crowding(own: float, others: float, processors: int) -> str:
    """Describe how crowded the processors are; empty if nothing is in the way."""
    wanting = own >= 0.2 * processors
    if not wanting or others < LEAST_OTHERS or own + others < FULL * processors:
        return ""
    return (
        f"slowed by others: {others / processors:.0%} of the processors' time (they take "
        f"{others:.1f} of {processors} and this run {own:.1f}; alone it would take about "
        f"{own / (own + others):.0%} of the time)"
    )


class Contention:
    """Compares what this process and all others used since the last look."""

    def __init__(self) -> None:
        self._containers: Callable[[Collection[int]], float] = _no_containers
        self._before = self._taken()
        self._said = float("-inf")
        self._wait = FIRST_SECONDS
        self._watched = self._slowed = self._others = 0.0

    def look(self) -> str:
        """:func:`crowding` since the last look, soon after the start, then once in ten minutes."""
        before, now = self._before, self._taken()
        seconds = now[0] - before[0]
        if seconds < self._wait:
            return ""
        self._before, self._wait = now, LOOK_SECONDS
        own, everybody = ((now[i] - before[i]) / seconds for i in (1, 2))
        others, processors = max(0.0, everybody - own), os.cpu_count() or 1
        words = crowding(own, others, processors)
        self._watched += seconds
        if words:
            self._slowed += seconds
            self._others += seconds * others / processors
        if not words or now[0] - self._said < QUIET_SECONDS:
            return ""
        self._said = now[0]
        return words

    @property
    def pause(self) -> float:
        """Seconds until the next call of :meth:`look`; fewer where containers may end meanwhile."""
        return SAMPLE_SECONDS if _uses_sandbox() else self._wait

    def _taken(self) -> tuple[float, float, float]:
        """Return the time, and processor seconds of this run and of all processes."""
        when, own, pids, busy = _taken()
        if self._containers is _no_containers and _uses_sandbox():
            from sandbox.processors import ContainerTime

            self._containers = ContainerTime().look
        return when, own + self._containers(pids), busy

    def to_json(self) -> dict[str, float] | None:
        """Return, for a run's record, how long others were in the way and their share; None: never.

        The keys are ``watched_seconds``; ``slowed_seconds``, the part of these with others in the
        way; and ``others_share``, their share of processor time in that part.
        """
        if not self._slowed:
            return None
        return {
            "watched_seconds": round(self._watched, 1),
            "slowed_seconds": round(self._slowed, 1),
            "others_share": round(self._others / self._slowed, 3),
        }


# Of this process, while it is watched.
_watching: Contention | None = None


def slowed() -> dict[str, float] | None:
    """Return what others used while this process was watched; None: nothing worth a line."""
    return None if _watching is None else _watching.to_json()


def keep_threads(known: int | None, say: Callable[[str], None]) -> int:
    """Compute with the number of threads that a run began with, whatever is free now.

    Another number adds sums in another order, so a resumed run would not reproduce its own
    figures.
    """
    import torch

    usual = torch.get_num_threads()
    if known is not None and known != usual:
        say(f"computes with {known} threads, as when it began, and not with {usual}")
        torch.set_num_threads(known)
    return torch.get_num_threads()


def free_processors(seconds: float = 0.5) -> tuple[float, int, float]:
    """Measure the free processors; also return their total and the load of the last minute."""
    import psutil

    count = os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=seconds) / 100
    return (1.0 - busy) * count, count, psutil.getloadavg()[0]


@contextmanager
def watched(say: Callable[[str], None], begun: Callable[[], bool]) -> Iterator[None]:
    """Report, while the body runs, when others are in its way."""
    global _watching
    ended = threading.Event()

    def watch() -> None:
        global _watching
        contention = _watching = Contention()
        while not ended.wait(contention.pause):
            if not begun():
                contention = _watching = Contention()
                continue
            words = contention.look()
            if words:
                say(words)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        _watching = None


def _uses_sandbox() -> bool:
    """Whether this process has loaded the sandbox, so that what it needs is installed."""
    return "sandbox.engine" in sys.modules


def _no_containers(_owners: Collection[int]) -> float:
    return 0.0


def _taken() -> tuple[float, float, list[int], float]:
    """Return the time, the seconds of this process and its children, their ids, those of all."""
    # Not at the top: every command imports this module, even those that end in half a second.
    import psutil

    me = psutil.Process()
    own, family = 0.0, (me, *me.children(recursive=True))
    for process in family:
        try:
            times = process.cpu_times()
            own += times.user + times.system
        except psutil.Error:
            continue
    whole = psutil.cpu_times()
    idle = whole.idle + getattr(whole, "iowait", 0.0) + getattr(whole, "steal", 0.0)
    # Guest time is part of user time.
    busy = sum(whole) - idle - getattr(whole, "guest", 0.0) - getattr(whole, "guest_nice", 0.0)
    return time.monotonic(), own, [process.pid for process in family], busy
