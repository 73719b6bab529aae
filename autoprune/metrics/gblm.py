"""GBLM: Wanda plus weight magnitude times gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.metrics.metric import METRICS, ParametricMetric


@dataclass(frozen=True)
class Gblm(ParametricMetric):
    """``|W_ij| * (||x_j|| + scale * G_ij)``, compared within each row (arXiv 2311.04902).

    The published code takes ``||x_j||`` as the square root of the sum over a sample's T tokens and
    ``G`` as 100 times the square root of the sum over N samples. Both statistics are means here, so
    its mix is ``scale = 100 * sqrt(N / T)``: 25 for its 128 samples of 2048 tokens.

    Args:
        scale: Weight of the gradient against the input norm.
    """

    name: ClassVar[str] = "gblm"
    source: ClassVar[str] = "Das et al., Beyond Size (GBLM-Pruner), arXiv 2311.04902"
    needs: ClassVar[frozenset[str]] = frozenset({"x_norm", "grad_norm"})

    scale: float = 25.0

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return f"abs(W) * (x_norm + {{scale:{self.scale!r}}} * grad_norm)"

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        gradient = self.scale * self.statistic(stats, "grad_norm")
        return weight.float().abs() * (self.statistic(stats, "x_norm") + gradient)


METRICS.add("gblm", Gblm())
