"""SparseGPT's score: the loss of removing one weight when the others adapt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.candidate import Group
from autoprune.metrics.metric import METRICS, ParametricMetric


@dataclass(frozen=True)
class SparseGptScores(ParametricMetric):
    """``W_ij^2 / [H^-1]_jj``, the Optimal Brain Surgeon saliency (arXiv 2301.00774, equation 3).

    The static form, from the whole inverse Hessian; the sweep that updates weights between
    columns is the repair of the same name. Scores of different rows are errors in the same unit, so
    they are compared over the whole matrix.
    """

    name: ClassVar[str] = "sparsegpt"
    source: ClassVar[str] = "Frantar and Alistarh, SparseGPT, ICML 2023, arXiv 2301.00774"
    needs: ClassVar[frozenset[str]] = frozenset({"hessian_diag"})
    group: ClassVar[Group] = "matrix"

    @property
    def formula(self) -> str:
        """The metric in the metric language."""
        return "sq(W) * hessian_diag"

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        return weight.float().square() * self.statistic(stats, "hessian_diag")


METRICS.add("sparsegpt", SparseGptScores())
