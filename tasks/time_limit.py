"""A limit in time for work on a bench: it ends between two windows, layers or blocks."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from autoprune.bench.bench import Bench
from autoprune.errors import AutopruneError
from autoprune.progress import Progress


def now() -> float:
    """Seconds of a clock that never goes back."""
    return time.monotonic()


class OutOfTimeError(AutopruneError):
    """Work that was stopped because its time was up; how far it was."""


@contextmanager
def limited(bench: Bench, seconds: float) -> Iterator[None]:
    """Stop what the body does on a bench when its time is up.

    All long work on a bench reports its progress there, after each window, layer or block; that is
    where it is stopped, and what holds the dense weights puts them back.

    Args:
        bench: Whose progress is watched.
        seconds: From now on; infinite: no limit.

    Raises:
        OutOfTimeError: From the body.
    """
    if math.isinf(seconds):
        yield
        return
    began, shown = now(), bench.report

    def report(progress: Progress) -> None:
        shown(progress)
        took = now() - began
        # What is done with its last unit is done.
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
