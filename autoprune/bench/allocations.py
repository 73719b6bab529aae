"""Choose the allocator by measurement: prune, measure on the selection split, restore, repeat."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autoprune.allocation import AllocationChoice, build_allocator, choose_allocator
from autoprune.bench.text import SELECTION
from autoprune.candidate import Candidate
from autoprune.metrics import candidate_metric
from autoprune.progress import Progress
from autoprune.pruning import PruningPlan
from autoprune.repair import Repair

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench


def choose_allocation(
    bench: "Bench", metric: Candidate, plan: PruningPlan, texts: Sequence[str]
) -> AllocationChoice:
    """Choose the allocator with the lowest loss on the selection split.

    Each candidate prunes one-shot from statistics of the dense model, without repair: this takes
    seconds, while a repair may take minutes. The best allocator for masks alone need not be the
    best under a repair. If the plan has one, uniform and the best other allocator are therefore
    repaired block by block and measured again, and the lower loss decides.

    Args:
        bench: Scores by the metric; dense before and after.
        metric: Scores the weights.
        plan: Budget, group, seed and repair; its allocation is not used.
        texts: Allocators to compare; uniform always competes.

    Raises:
        UsageError: If an N:M pattern or the group ``global`` leaves nothing to choose, or a
            candidate is invalid; raised before anything is measured.
    """
    plans = [replace(plan, allocation=build_allocator(text), scoring="dense") for text in texts]
    # One pass of the model collects what any of them reads.
    bench.calibrated(candidate_metric(metric).needs.union(*(one.allocation.needs for one in plans)))
    done = 0

    def loss(text: str, repair: Repair) -> float:
        with bench.dense:
            how = replace(plan, allocation=build_allocator(text), repair=repair, scoring="dense")
            bench.prune_by(metric, how, 0)
            found = bench.evaluate(SELECTION)
        return sum(found.nll) / len(found.nll)

    def bare(text: str) -> float:
        nonlocal done
        found = loss(text, Repair())
        done += 1
        bench.report(Progress("allocations", done, len(texts)))
        return found

    if not plan.repair.acts:
        return choose_allocator(texts, bare)
    # One block's statistics at a time, as in the pruning that the choice is for.
    repair = replace(plan.repair, order="block by block") if plan.repair.needs else plan.repair
    return choose_allocator(texts, bare, lambda text: loss(text, repair))
