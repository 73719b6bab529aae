"""Pruning metrics: scores for the weights of one layer, larger means keep."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from autoprune.candidate import Group
from autoprune.errors import UsageError
from autoprune.registry import Registry


@runtime_checkable
class Metric(Protocol):
    """Anything with these attributes is a metric."""

    @property
    def name(self) -> str:
        """Registry name."""

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that :meth:`score` reads, by name."""

    @property
    def group(self) -> Group:
        """Weights that compete with each other unless the recipe says otherwise."""

    @property
    def source(self) -> str:
        """Where the formula comes from: authors, title, arXiv id."""

    @property
    def params(self) -> Mapping[str, float]:
        """Values of the tunable parameters."""

    @property
    def formula(self) -> str | None:
        """The same metric in the metric language; None if it cannot be expressed."""

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """Score a layer's weights.

        Args:
            weight: Layer weight, [out, in].
            stats: At least the statistics in ``needs``; vectors are [in], ``grad_norm`` [out, in].

        Returns:
            float32, [out, in]; larger means keep.

        Raises:
            UsageError: If a statistic is missing.
        """
        ...


@runtime_checkable
class NamedScores(Protocol):
    """Extra method of metrics whose scores also depend on the name of the layer."""

    def score_layer(self, layer: str, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """:meth:`Metric.score` of the layer with this name."""
        ...


def layer_scores(metric: Metric, layer: str, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
    """Score a named layer; only :class:`NamedScores` use the name."""
    if isinstance(metric, NamedScores):
        return metric.score_layer(layer, weight, stats)
    return metric.score(weight, stats)


@dataclass(frozen=True)
class ParametricMetric:
    """Base class of metrics written in Python, whose float fields are their parameters."""

    name: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    group: ClassVar[Group] = "row"

    @property
    def params(self) -> Mapping[str, float]:
        """Values of the fields, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def formula(self) -> str | None:
        """The metric in the metric language; None if it cannot be expressed."""
        return None

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """Score a layer's weights; see :class:`Metric`."""
        raise NotImplementedError(f"{type(self).__name__} does not define score")

    def statistic(self, stats: Mapping[str, Tensor], name: str) -> Tensor:
        """A statistic as float32.

        Raises:
            UsageError: If ``stats`` does not hold it.
        """
        if name not in stats:
            raise UsageError(
                f"metric {self.name!r} needs the statistic {name!r}; available: "
                f"{', '.join(sorted(stats)) or 'none'}; collect the statistics with "
                f"needs={sorted(self.needs)}"
            )
        return stats[name].float()


METRICS: Registry[Metric] = Registry("metric", "autoprune.metrics")
