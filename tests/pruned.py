"""Pruning in one call, for tests that say only what differs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.metrics.metric import Metric
from autoprune.models.structure import PrunableLinear
from autoprune.pruning import MetricScore, PruneOutcome, PruningPlan, prune
from autoprune.recipe import Scoring


def block_by_block(
    model: PreTrainedModel,
    windows: Tensor,
    metric: Metric,
    plan: PruningPlan,
    scoring: Scoring = "sequential",
    **rest: Any,
) -> PruneOutcome:
    """Each block sees the blocks already pruned."""
    plan = replace(plan, scoring=scoring)
    return prune(model, MetricScore(metric), plan, windows=windows, **rest)


@dataclass(frozen=True)
class OwnScore:
    """A score that reads the weight alone."""

    work: Callable[[PrunableLinear], Tensor]
    needs: frozenset[str] = frozenset()

    def __call__(self, layer: PrunableLinear, stats: Mapping[str, Tensor]) -> Tensor:
        return self.work(layer)
