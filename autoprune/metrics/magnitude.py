"""Magnitude: prune the smallest weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.candidate import Group
from autoprune.metrics.metric import METRICS, ParametricMetric


@dataclass(frozen=True)
class Magnitude(ParametricMetric):
    """``|W|``; compared over the whole matrix as in the reference code."""

    name: ClassVar[str] = "magnitude"
    source: ClassVar[str] = "Han et al., Learning both Weights and Connections, arXiv 1506.02626"
    group: ClassVar[Group] = "matrix"

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return "abs(W)"

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        return weight.float().abs()


METRICS.add("magnitude", Magnitude())
