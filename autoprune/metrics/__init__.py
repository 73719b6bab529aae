"""Pruning metrics: the built-in ones, and a language for writing new ones."""

from autoprune.metrics import (
    gblm,
    magnitude,
    pruner_zero,
    random_scores,
    ria,
    sparsegpt,
    wanda,
)
from autoprune.metrics.building import (
    ExpressionMetric,
    build_metric,
    candidate_metric,
    with_params,
)
from autoprune.metrics.metric import METRICS, Metric, ParametricMetric, layer_scores

__all__ = [
    "METRICS",
    "ExpressionMetric",
    "Metric",
    "ParametricMetric",
    "build_metric",
    "candidate_metric",
    "gblm",
    "layer_scores",
    "magnitude",
    "pruner_zero",
    "random_scores",
    "ria",
    "sparsegpt",
    "wanda",
    "with_params",
]
