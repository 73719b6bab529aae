"""Pruner-Zero: squared weight times the rescaled gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.metrics.metric import METRICS, ParametricMetric

SMALLEST_SPAN = 1e-12


@dataclass(frozen=True)
class PrunerZero(ParametricMetric):
    """``|W|^2 * minmax(G)``, minmax over the matrix, compared within each row.

    The metric found by the genetic search of arXiv 2406.02924.
    """

    name: ClassVar[str] = "pruner-zero"
    source: ClassVar[str] = "Dong et al., Pruner-Zero, ICML 2024, arXiv 2406.02924"
    needs: ClassVar[frozenset[str]] = frozenset({"grad_norm"})

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return "sq(W) * minmax(grad_norm)"

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        gradient = self.statistic(stats, "grad_norm")
        low, high = gradient.aminmax()
        return weight.float().square() * ((gradient - low) / (high - low).clamp(min=SMALLEST_SPAN))


METRICS.add("pruner-zero", PrunerZero())
