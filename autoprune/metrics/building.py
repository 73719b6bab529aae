"""Metrics from text: a registry name, a name with parameters, or a formula."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from autoprune.candidate import FORMULA_PREFIX, Candidate, Group
from autoprune.errors import UsageError
from autoprune.metrics.language.expression import Expression, parse
from autoprune.metrics.metric import METRICS, Metric


@dataclass(frozen=True)
class ExpressionMetric:
    """A formula of the metric language as a metric."""

    expression: Expression
    name: str = "expr"
    group: Group = "row"
    source: str = "metric language"

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that the formula reads."""
        return self.expression.needs

    @property
    def params(self) -> Mapping[str, float]:
        """Tunable constants of the formula."""
        return self.expression.constants

    @property
    def formula(self) -> str:
        """Canonical text."""
        return self.expression.text

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """Score a layer's weights; see :class:`Metric`."""
        return self.expression.evaluate(weight, stats)


def build_metric(text: str) -> Metric:
    """Read a metric.

    Args:
        text: ``NAME``, ``NAME:key=value,key=value`` or ``expr:FORMULA``.

    Raises:
        UnknownNameError: If no metric has the name.
        ExpressionError: If the formula is not valid.
        UsageError: If a parameter is unknown or not a number.
    """
    if text.startswith(FORMULA_PREFIX):
        return ExpressionMetric(parse(text.removeprefix(FORMULA_PREFIX)))
    name, _, assignments = text.partition(":")
    return with_params(METRICS.get(name), _read_assignments(text, assignments))


def candidate_metric(candidate: Candidate) -> Metric:
    """The metric of a candidate that needs no sandbox.

    Raises:
        UsageError: If the candidate is Python source, which only the sandbox may run.
    """
    if candidate.kind == "python":
        raise UsageError(
            "a Python candidate has no metric object; score it in the sandbox, "
            "or pass an expression or a builtin"
        )
    if candidate.kind == "builtin":
        return with_params(build_metric(candidate.source), candidate.params)
    return ExpressionMetric(parse(candidate.source).with_constants(candidate.params))


def with_params(metric: Metric, params: Mapping[str, float]) -> Metric:
    """Return the same metric with other parameter values.

    Raises:
        UsageError: If a name is unknown or a value is not finite.
    """
    if not params:
        return metric
    if isinstance(metric, ExpressionMetric):
        return dataclasses.replace(metric, expression=metric.expression.with_constants(params))
    for name, value in params.items():
        if name not in metric.params:
            known = ", ".join(metric.params) or "none"
            raise UsageError(
                f"metric {metric.name!r} has no parameter {name!r}; parameters: {known}"
            )
        if not math.isfinite(value):
            raise UsageError(f"parameter {name!r} of {metric.name!r} is {value}; pass a number")
    # Metrics with parameters are dataclasses whose fields are the parameters.
    return cast(Metric, dataclasses.replace(cast(Any, metric), **params))


def _read_assignments(text: str, assignments: str) -> dict[str, float]:
    params: dict[str, float] = {}
    for part in filter(None, assignments.split(",")):
        key, _, value = part.partition("=")
        try:
            params[key.strip()] = float(value)
        except ValueError:
            raise UsageError(
                f"cannot read {part!r} in metric {text!r}; write NAME:key=number,key=number"
            ) from None
    return params
