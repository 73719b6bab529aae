"""Choose the allocator by measurement: prune, measure on the selection split, restore, repeat."""

from collections.abc import Sequence
from dataclasses import replace

from autoprune.allocation import Choice, ModelContext, build_allocator, choose_allocator
from autoprune.bench.model import ModelBench
from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics.metric import Metric
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.repair import Repair


def choose_allocation(
    bench: ModelBench, metric: Metric, plan: PruningPlan, texts: Sequence[str]
) -> Choice:
    """Choose the allocator with the lowest loss on the selection split.

    Each candidate prunes one-shot from statistics of the dense model, without repair: this takes
    seconds, while a repair may take minutes. The best allocator for masks alone need not be the
    best under a repair. If the plan has one, uniform and the best other allocator are therefore
    repaired block by block and measured again, and the lower loss decides.

    Args:
        bench: Holds windows named ``calibration`` and ``selection``; dense before and after.
        metric: Scores the weights.
        plan: Budget, group, seed and repair; its allocation is not used.
        texts: Allocators to compare; uniform always competes.

    Raises:
        UsageError: If an N:M pattern or the group ``global`` leaves nothing to choose, or a
            candidate is invalid; raised before anything is measured.
    """
    for text in texts:
        replace(plan, allocation=build_allocator(text))
    needs = metric.needs.union(*(build_allocator(text).needs for text in texts))
    statistics = bench.statistics(CALIBRATION, needs) if needs else None
    context = ModelContext(bench.layers, statistics, plan.seed)
    score = MetricScore(metric)
    done = 0

    def loss(text: str, repair: Repair, report: Report = silent) -> float:
        part = build_allocator(text)
        candidate = replace(plan, allocation=part, repair=repair, scoring="dense")
        with bench.dense:
            prune(
                bench.loaded.model,
                score,
                candidate,
                windows=bench.windows[CALIBRATION],
                fresh=bench.windows.get(f"{CALIBRATION} fresh"),
                layers=bench.layers,
                statistics=statistics,
                context=context,
                report=report,
            )
            found = evaluate_windows(bench.loaded.model, bench.windows[SELECTION])
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
    return choose_allocator(texts, bare, lambda text: loss(text, repair, bench.report))
