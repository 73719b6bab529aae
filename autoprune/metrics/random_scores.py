"""Random scores: the control that every metric has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.digest import digest_json
from autoprune.metrics.metric import METRICS, ParametricMetric

SEED_DIGITS = 15


@dataclass(frozen=True)
class RandomScores(ParametricMetric):
    """Uniform scores that depend only on the seed and the layer's name and shape.

    Drawn on the CPU, so that they are the same on every device.

    Args:
        seed: Chooses the draw.
    """

    name: ClassVar[str] = "random"
    source: ClassVar[str] = "stochastic control"

    seed: float = 0.0

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """See :meth:`autoprune.metrics.metric.Metric.score`."""
        return self.score_layer("", weight, stats)

    def score_layer(self, layer: str, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """Score one layer; without its name, layers of equal shape would share a mask."""
        digest = digest_json([self.seed, layer, *weight.shape])
        generator = torch.Generator().manual_seed(int(digest[:SEED_DIGITS], 16))
        return torch.rand(weight.shape, generator=generator).to(weight.device)


METRICS.add("random", RandomScores())
