"""Wanda: weight magnitude times input norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.metrics.metric import METRICS, ParametricMetric


@dataclass(frozen=True)
class Wanda(ParametricMetric):
    """``|W_ij| * ||x_j||``, compared within each row (arXiv 2306.11695, equation 1).

    The norm here is the root mean square over tokens; the paper's differs by a factor per matrix,
    which changes no ranking.
    """

    name: ClassVar[str] = "wanda"
    source: ClassVar[str] = "Sun et al., A Simple and Effective Pruning Approach, arXiv 2306.11695"
    needs: ClassVar[frozenset[str]] = frozenset({"x_norm"})

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return "abs(W) * x_norm"

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        return weight.float().abs() * self.statistic(stats, "x_norm")


METRICS.add("wanda", Wanda())
