"""Choose the allocator by measurement: prune, measure on the selection split, restore, repeat."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autoprune.allocation import AllocationChoice, build_allocator, choose_allocator
from autoprune.bench.text import SELECTION
from autoprune.candidate import Candidate
from autoprune.errors import NothingPassedError
from autoprune.metrics import candidate_metric
from autoprune.progress import Progress
from autoprune.pruning import PruningPlan
from autoprune.repair import Repair

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench


def choose_allocation(
    bench: "Bench", metric: str, plan: PruningPlan, grid: Sequence[str]
) -> AllocationChoice:
    """Choose the allocator with the lowest loss on the selection split.

    Each candidate prunes one-shot from statistics of the dense model, without repair: this takes
    seconds, while a repair may take minutes. The best allocator for masks alone need not be the
    best under a repair. If the plan has one, uniform and the best other allocator are therefore
    repaired block by block and measured again, and the lower loss decides.
    """
    started, scores = time.monotonic(), Candidate.parse(metric)
    plans = [replace(plan, allocation=build_allocator(text), scoring="dense") for text in grid]
    # One pass of the model collects what any of them reads.
    bench.calibrated(candidate_metric(scores).needs.union(*(one.allocation.needs for one in plans)))
    done = 0

    def loss(text: str, repair: Repair) -> float:
        with bench.dense:
            how = replace(plan, allocation=build_allocator(text), repair=repair, scoring="dense")
            bench.prune_by(scores, how, 0)
            found = bench.evaluate(SELECTION)
        return sum(found.nll) / len(found.nll)

    def bare(text: str) -> float:
        nonlocal done
        found = loss(text, Repair())
        done += 1
        bench.report(Progress("allocations", done, len(grid)))
        return found

    if plan.repair.acts:
        # One block's statistics at a time, as in the pruning that the choice is for.
        repair = replace(plan.repair, order="block by block") if plan.repair.needs else plan.repair
        choice = choose_allocator(grid, bare, lambda text: loss(text, repair))
    else:
        choice = choose_allocator(grid, bare)
    decisive = choice.finals or choice.losses
    if not any(math.isfinite(loss) for _, loss in decisive):
        raise NothingPassedError(
            f"pruned with any of {', '.join(text for text, _ in decisive)} the model's loss "
            "on the selection part is infinite or not a number; nothing was kept; ask for less "
            f"than sparsity {plan.sparsity:g}, and see with `autoprune evaluate` whether the "
            "dense model computes at all"
        )
    return replace(choice, seconds=time.monotonic() - started)
