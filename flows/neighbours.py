"""Work beside other work: threads that wait leave the processor to others, and who slows whom.

How many threads compute is torch's own choice, or that of ``OMP_NUM_THREADS``: with another number
sums are added in another order, and a resumed search would not find its own figures again.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Read by OpenMP when torch is imported.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
LOOK_SECONDS = 60.0
# One line about neighbours in this time.
QUIET_SECONDS = 600.0
# Processors that others must take, and the share of all that must be taken, to be worth a line.
LEAST_OTHERS = 0.5
FULL = 0.9


def wait_passively() -> None:
    """Let threads that wait for work sleep, here and in processes that are started from here.

    By default they spin, and two programs that spin take many times as long beside each other. What
    the user has set stays. Has to come before torch is imported.
    """
    for name, value in PASSIVE.items():
        os.environ.setdefault(name, value)


def crowding(own: float, others: float, processors: int) -> str:
    """What to say of the processors; empty where nobody is in the way.

    Args:
        own: Processors that this run takes, with its children.
        others: Processors that all else takes.
        processors: How many there are.
    """
    wanting = own >= 0.2 * processors
    if not wanting or others < LEAST_OTHERS or own + others < FULL * processors:
        return ""
    return (
        f"slowed by others: they take {others:.1f} of {processors} processors and this run "
        f"{own:.1f}; alone it would take about {own / (own + others):.0%} of the time"
    )


class Neighbours:
    """Compares what this process and all others took since the last look."""

    def __init__(self) -> None:
        self._before = _taken()
        self._said = float("-inf")

    def look(self) -> str:
        """:func:`crowding` since the last look that was a minute ago, once in ten minutes."""
        before, now = self._before, _taken()
        seconds = now[0] - before[0]
        if seconds < LOOK_SECONDS:
            return ""
        self._before = now
        own, everybody = ((now[i] - before[i]) / seconds for i in (1, 2))
        words = crowding(own, max(0.0, everybody - own), os.cpu_count() or 1)
        if not words or now[0] - self._said < QUIET_SECONDS:
            return ""
        self._said = now[0]
        return words


@contextmanager
def watched(say: Callable[[str], None]) -> Iterator[None]:
    """Say while the body runs when others are in its way."""
    ended = threading.Event()

    def watch() -> None:
        neighbours = Neighbours()
        while not ended.wait(LOOK_SECONDS):
            words = neighbours.look()
            if words:
                say(words)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _taken() -> tuple[float, float, float]:
    """Time now, seconds of processor of this process and its children, and of all processes."""
    # Not at the top: every command has this module, also those that end in half a second.
    import psutil

    me = psutil.Process()
    own = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
            own += times.user + times.system
        except psutil.Error:
            continue
    whole = psutil.cpu_times()
    idle = whole.idle + getattr(whole, "iowait", 0.0) + getattr(whole, "steal", 0.0)
    # Guests are part of user time.
    busy = sum(whole) - idle - getattr(whole, "guest", 0.0) - getattr(whole, "guest_nice", 0.0)
    return time.monotonic(), own, busy
