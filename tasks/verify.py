"""Scores a designer's reason: read by the model being pruned, judged by the search's verifier."""

import math
import time

from autoprune.errors import LONGEST_DETAIL, AutopruneError, reason_of
from autoprune.search.steps import Failed, Verified, Verify
from autoprune.verify import Chain
from tasks.search_bench import SearchBench


def verified(bench: SearchBench, wanted: Verify, seconds: float = math.inf) -> Verified | Failed:
    """Score the steps of a reason; one that the reader cannot process has failed.

    Args:
        bench: The search's bench; its model is dense meanwhile.
        wanted: The step.
        seconds: Unused, since this takes less time than a measurement's first window.
    """
    started = time.monotonic()
    verifier = bench.verifier
    bench.dense.restore()
    try:
        (scores,) = verifier.score_chains([Chain(wanted.question, wanted.reason)])
    except AutopruneError as error:
        return Failed("unread", reason_of(error, LONGEST_DETAIL), time.monotonic() - started)
    return Verified(tuple(scores), time.monotonic() - started)
