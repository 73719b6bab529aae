"""Choose the allocator by measurement: prune, measure on the selection split, restore, repeat."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import Choice, ModelContext, build_allocator, choose_allocator
from autoprune.calibration.statistics import Statistics
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics.metric import Metric
from autoprune.models.structure import prunable_linears
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import DenseWeights, PruningPlan, metric_scores, prune_one_shot
from autoprune.solvers import Plain


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
    report: Report = silent,
) -> Choice:
    """The allocator with the lowest loss on the selection split.

    Every candidate prunes one-shot from statistics of the dense model and without repair: a few
    seconds each, while the way that is chosen for may take minutes.

    Args:
        model: Dense and in eval mode; dense again afterwards.
        metric: Scores the weights.
        plan: Budget, group and seed; its allocation and repair are not used.
        texts: Allocators to compare; uniform always competes.
        statistics: At least :func:`choice_needs`.
        selection: Token windows of the selection split, int64 [n, s].
        report: Told after every candidate.

    Raises:
        UsageError: If an N:M pattern or the group ``global`` leaves nothing to choose, or a
            candidate is wrong; before anything is measured.
    """
    for text in texts:
        replace(plan, allocation=build_allocator(text))
    layers = prunable_linears(model)
    context = ModelContext(layers, statistics, plan.seed)
    score = metric_scores(metric, statistics)
    dense = DenseWeights(layers)
    done = 0

    def measure(text: str) -> float:
        nonlocal done
        candidate = replace(plan, allocation=build_allocator(text), solver=Plain())
        with dense:
            prune_one_shot(layers, score, candidate, statistics=statistics, context=context)
            found = evaluate_windows(model, selection)
        done += 1
        report(Progress("allocations", done, len(texts)))
        return sum(found.nll) / len(found.nll)

    return choose_allocator(texts, measure)
