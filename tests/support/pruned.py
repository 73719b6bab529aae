"""Pruning in one call, for tests that say only what differs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.candidate import Scoring
from autoprune.metrics import build_metric
from autoprune.metrics.metric import Metric
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.pruning import MetricScore, PruneOutcome, PruningPlan, prune
from autoprune.statistics.statistics import collect_statistics
from tests.support.tiny_models import tiny_model


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


def repaired_model(
    family: str, repair: str, windows: Tensor, device: str = "cpu"
) -> tuple[dict[str, Tensor], PruneOutcome]:
    """Weights and outcome of a tiny model, 55 % by Wanda on a depth ramp."""
    model = tiny_model(family).to(device)
    layers = prunable_linears(model)
    plan = PruningPlan.build(0.55, allocation="ramp", repair=repair)
    dense = collect_statistics(model, windows, needs=frozenset({"x_norm"}) | plan.needs)
    score = MetricScore(build_metric("wanda"))
    outcome = prune(model, score, plan, windows=windows, statistics=dense)
    return {layer.name: layer.read().clone() for layer in layers}, outcome
