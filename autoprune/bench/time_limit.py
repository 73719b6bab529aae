"""A time limit for work on a bench, which stops between two windows, layers or blocks."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from autoprune.bench.bench import Bench
from autoprune.errors import OutOfTimeError
from autoprune.progress import Progress


def now() -> float:
    """Seconds of a clock that never goes backwards."""
    return time.monotonic()


@contextmanager
def limited(bench: Bench, seconds: float) -> Iterator[None]:
    """Stop the body's work on a bench when its time is up.

    All long work on a bench reports its progress there, after each window, layer or block; that is
    where it is stopped, and the holder of the dense weights restores them.
    """
    if math.isinf(seconds):
        yield
        return
    began, shown = now(), bench.report

    def report(progress: Progress) -> None:
        shown(progress)
        took = now() - began
        # Work that has finished its last unit is complete.
        if took >= seconds and progress.done < progress.total:
            raise OutOfTimeError(
                f"stopped after {took:.0f} s, when its time was up, at {progress.stage} "
                f"{progress.done} of {progress.total}"
            )

    bench.report = report
    try:
        yield
    finally:
        bench.report = shown
