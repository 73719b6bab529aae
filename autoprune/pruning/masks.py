"""From scores to masks: layer budgets, comparison groups, exact quotas."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from autoprune.allocation import ModelContext, allocate
from autoprune.allocation.context import Layer
from autoprune.errors import UsageError
from autoprune.masking import layer_quotas, nm_quotas, select_masks
from autoprune.metrics.metric import Metric, layer_scores
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.plan import PruningPlan
from autoprune.statistics.statistics import Statistics

StatsOf = Callable[[PrunableLinear], Mapping[str, Tensor]]


def no_stats(_: PrunableLinear) -> Mapping[str, Tensor]:
    """Empty statistics, for layers whose inputs were not recorded."""
    return {}


def dense_stats(statistics: Statistics | None) -> StatsOf:
    """Statistics of each layer's input from a pass of the dense model."""
    return no_stats if statistics is None else lambda layer: statistics.of(layer.name)


class Score(Protocol):
    """Scores the weights of a layer; a metric on the host, or one in the sandbox."""

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that it must be given; none if it has its own."""
        ...

    def __call__(self, layer: PrunableLinear, stats: Mapping[str, Tensor]) -> Tensor:
        """Scores, [o, i]; larger means keep."""
        ...


@dataclass(frozen=True)
class MetricScore:
    """Scores of a built-in metric or a formula.

    Args:
        metric: Scores the weights.
        own: Statistics that it reads instead of those it is given.
    """

    metric: Metric
    own: Statistics | None = None

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that the metric reads, unless it has its own."""
        return self.metric.needs if self.own is None else frozenset()

    def __call__(self, layer: PrunableLinear, stats: Mapping[str, Tensor]) -> Tensor:
        """See :class:`Score`."""
        weight = layer.read()
        stats = stats if self.own is None else self.own.of(layer.name)
        on_device = to_device_of(weight, stats, self.metric.needs)
        return layer_scores(self.metric, layer.name, weight, on_device)


def to_device_of(
    weight: Tensor, stats: Mapping[str, Tensor], needs: frozenset[str]
) -> dict[str, Tensor]:
    """The needed statistics on the weight's device; missing ones are skipped."""
    return {name: stats[name].to(weight.device) for name in needs if name in stats}


def layer_budgets(plan: PruningPlan, context: ModelContext) -> dict[str, int]:
    """Zeros per layer, summing exactly to the plan's share of all prunable weights.

    An N:M pattern must divide the layers; what makes the masks checks it (:meth:`NM.check`).
    """
    if plan.pattern is not None:
        return equal_budgets(plan, context.layers)
    numels = {layer.name: layer.numel for layer in context.layers}
    return layer_quotas(allocate(plan.allocation, context, plan.sparsity), numels, plan.sparsity)


def equal_budgets(plan: PruningPlan, layers: Sequence[Layer]) -> dict[str, int]:
    """Zeros per layer if each loses the plan's share, whatever its allocation."""
    numels = {layer.name: layer.numel for layer in layers}
    if plan.pattern is not None:
        return nm_quotas(numels, plan.pattern)
    return layer_quotas(dict.fromkeys(numels, plan.sparsity), numels, plan.sparsity)


def masks_from_scores(
    score: Score,
    layers: Sequence[PrunableLinear],
    quotas: Mapping[str, int],
    plan: PruningPlan,
    stats_of: StatsOf = no_stats,
    *,
    report: Report = silent,
) -> dict[str, Tensor]:
    """Masks for all layers; scores are computed one comparison group at a time."""
    masks: dict[str, Tensor] = {}
    for members in _comparison_groups(layers, plan):
        scores = {
            layer.name: checked_scores(layer, score(layer, stats_of(layer))) for layer in members
        }
        blocks = {layer.name: layer.block for layer in members}
        own = {name: quotas[name] for name in scores}
        masks.update(select_masks(scores, own, plan.group, plan.pattern, blocks))
        report(Progress("masks", len(masks), len(layers)))
    return masks


def checked_scores(layer: PrunableLinear, scores: Tensor) -> Tensor:
    """Return the scores; refuse them if their shape is not the layer's."""
    if tuple(scores.shape) != tuple(layer.shape):
        raise UsageError(
            f"scores for {layer.name} have shape {list(scores.shape)}, its weight has "
            f"{list(layer.shape)}; a metric must return one number per weight"
        )
    return scores


def _comparison_groups(
    layers: Sequence[PrunableLinear], plan: PruningPlan
) -> Iterator[list[PrunableLinear]]:
    if plan.pattern is None and plan.group == "global":
        yield list(layers)
    elif plan.pattern is None and plan.group == "block":
        blocks: dict[int, list[PrunableLinear]] = {}
        for layer in layers:
            blocks.setdefault(layer.block, []).append(layer)
        yield from blocks.values()
    else:
        yield from ([layer] for layer in layers)
