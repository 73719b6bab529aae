"""RIA: a weight's share of its row and of its column, times a power of the input norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.candidate import Group
from autoprune.metrics.metric import METRICS, ParametricMetric

SMALLEST_SUM = 1e-12


@dataclass(frozen=True)
class Ria(ParametricMetric):
    """Relative importance and activations (arXiv 2402.16902, equations 3 and 4).

    ``(|W_ij| / sum_j |W_ij| + |W_ij| / sum_i |W_ij|) * ||x_j|| ** exponent``, compared over the
    whole matrix.

    Args:
        exponent: Power of the input norm; 0 leaves the activations out.
    """

    name: ClassVar[str] = "ria"
    source: ClassVar[str] = "Zhang et al., Plug-and-Play (RIA), ICLR 2024"
    needs: ClassVar[frozenset[str]] = frozenset({"x_norm"})
    group: ClassVar[Group] = "matrix"

    exponent: float = 0.5

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return (
            "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) "
            f"* x_norm ** {{exponent:{self.exponent!r}}}"
        )

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        magnitude = weight.float().abs()
        # A row or column of zeros scores zero instead of NaN.
        row_share = magnitude / magnitude.sum(1, keepdim=True).clamp(min=SMALLEST_SUM)
        column_share = magnitude / magnitude.sum(0, keepdim=True).clamp(min=SMALLEST_SUM)
        norm = self.statistic(stats, "x_norm")
        # A dead input has no negative power; the formula's bound.
        norm = norm.clamp(min=SMALLEST_SUM) if self.exponent < 0 else norm
        return (row_share + column_share) * norm**self.exponent


METRICS.add("ria", Ria())
