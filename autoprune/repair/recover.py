"""Recovery of the whole model, after masks, layer repairs and block tuning."""

import math
from dataclasses import dataclass
from typing import ClassVar

from autoprune.repair.parts import RECOVER, REPAIRS, RepairPart

# Windows held out to decide when to stop and which weights to keep.
HELD_OUT = 4


@REPAIRS.register(RECOVER)
@dataclass(frozen=True)
class ModelRecovery(RepairPart):
    """Train the kept weights on the dense model's predictions for fresh text; last in a repair.

    Masks stay exactly as they are. See :func:`autoprune.pruning.recovery.recover`.

    Args:
        steps: Maximum number of AdamW steps.
        batch: Windows per step.
        rate: Learning rate of AdamW, which falls to zero by a cosine.
        top: Predictions of the dense model to keep per token; the rest of its vocabulary counts as
            one outcome.
    """

    NAME: ClassVar[str] = RECOVER
    SOURCE: ClassVar[str] = "knowledge distillation, arXiv 1503.02531, on kept weights"

    steps: int = 50
    batch: int = 2
    rate: float = 1e-4
    top: int = 64

    def __post_init__(self) -> None:
        self._require("steps", self.steps >= 1, "1 or above")
        self._require("batch", self.batch >= 1, "1 or above")
        self._require("rate", 0.0 < self.rate < 1.0, "between 0 and 1")
        self._require("top", self.top >= 1, "1 or above")

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, the first of which is 0."""
        return self.rate * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))

    @property
    def windows(self) -> int:
        """Fresh windows that it reads once each, including the held-out ones."""
        return self.steps * self.batch + HELD_OUT
