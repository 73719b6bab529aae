"""Choose the allocator by measurement: prune, measure on the selection split, restore, repeat."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import Choice, ModelContext, build_allocator, choose_allocator
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics.metric import Metric
from autoprune.models.structure import prunable_linears
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.dense import DenseWeights
from autoprune.pruning.engine import prune
from autoprune.pruning.masks import MetricScore
from autoprune.pruning.plan import PruningPlan
from autoprune.repair import Repair
from autoprune.statistics.statistics import Statistics


def choice_needs(texts: Sequence[str], metric: Metric) -> frozenset[str]:
    """Statistics of the dense model that :func:`choose_allocation` reads."""
    return metric.needs.union(*(build_allocator(text).needs for text in texts))


def choose_allocation(
    model: PreTrainedModel,
    metric: Metric,
    plan: PruningPlan,
    texts: Sequence[str],
    statistics: Statistics | None,
    selection: Tensor,
    *,
    calibration: Tensor | None = None,
    report: Report = silent,
) -> Choice:
    """The allocator with the lowest loss on the selection split.

    Every candidate prunes one-shot from statistics of the dense model and without repair: a few
    seconds each, while a repair may take minutes. What is best for masks alone need not be best
    under a repair, so with one the best that is not uniform and uniform are repaired, block after
    block, and measured again; that decides.

    Args:
        model: Dense and in eval mode; dense again afterwards.
        metric: Scores the weights.
        plan: Budget, group, seed and repair; its allocation is not used.
        texts: Allocators to compare; uniform always competes.
        statistics: At least :func:`choice_needs`.
        selection: Token windows of the selection split, int64 [n, s].
        calibration: Windows that the repair reads, int64 [n, s]; None: no repair is measured.
        report: Told after every candidate.

    Raises:
        UsageError: If an N:M pattern or the group ``global`` leaves nothing to choose, or a
            candidate is wrong; before anything is measured.
    """
    for text in texts:
        replace(plan, allocation=build_allocator(text))
    layers = prunable_linears(model)
    context = ModelContext(layers, statistics, plan.seed)
    score = MetricScore(metric)
    dense = DenseWeights(layers)
    done = 0

    def loss(text: str, repair: Repair, report: Report = silent) -> float:
        part = build_allocator(text)
        candidate = replace(plan, allocation=part, repair=repair, scoring="dense")
        with dense:
            prune(
                model,
                score,
                candidate,
                windows=calibration,
                layers=layers,
                statistics=statistics,
                context=context,
                report=report,
            )
            found = evaluate_windows(model, selection)
        return sum(found.nll) / len(found.nll)

    def bare(text: str) -> float:
        nonlocal done
        found = loss(text, Repair())
        done += 1
        report(Progress("allocations", done, len(texts)))
        return found

    if calibration is None or not plan.repair.acts:
        return choose_allocator(texts, bare)
    # One block's statistics at a time, as in the pruning that is chosen for.
    repair = replace(plan.repair, order="block by block") if plan.repair.needs else plan.repair
    return choose_allocator(texts, bare, lambda text: loss(text, repair, report))
