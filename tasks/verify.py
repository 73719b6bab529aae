"""A designer's reason read by the model that is pruned, and scored by the search's verifier."""

import math
import time

from autoprune.errors import AutopruneError, reason_of
from autoprune.search.steps import Failed, Verified, Verify
from autoprune.verify import Chain
from tasks.search_bench import SearchBench


def verified(bench: SearchBench, wanted: Verify, seconds: float = math.inf) -> Verified | Failed:
    """Score the steps of a reason; one that the reader cannot take has failed.

    Args:
        bench: The search's; its model is dense meanwhile.
        wanted: The step.
        seconds: Not needed, since it takes less than a measurement's first window.
    """
    started = time.monotonic()
    verifier = bench.verifier
    bench.dense.restore()
    try:
        (scores,) = verifier.score_chains([Chain(wanted.question, wanted.reason)])
    except AutopruneError as error:
        return Failed("unread", reason_of(error, 400), time.monotonic() - started)
    return Verified(tuple(scores), time.monotonic() - started)
