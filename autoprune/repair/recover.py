"""Recovery of the whole model, after masks, layer repairs and block tuning."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from autoprune.repair.parts import RECOVER, REPAIRS, RepairPart

Moved = Literal["all", "norms"]
Schedule = Literal["cosine", "linear"]
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
        rate: Learning rate of AdamW, before both of the following factors.
        schedule: How the rate falls to zero over all steps, by a factor that begins at 1.
        warmup: Share of the steps in which another factor rises to 1.
        beta2: AdamW's averaging of squared gradients; below 0.999 for few steps.
        move: What to train: ``all`` kept weights, norms and biases, or only the ``norms`` and
            biases (PERP, arXiv 2312.15230), usually with a rate of 0.001.
        top: Predictions of the dense model to keep per token; the rest of its vocabulary counts as
            one outcome.
        lora: Rank of the masked low-rank updates to matrices, merged at the end (MaskLoRA of PERP,
            arXiv 2312.15230), usually with a rate of 0.001; 0 trains every kept weight directly.
    """

    NAME: ClassVar[str] = RECOVER
    SOURCE: ClassVar[str] = "knowledge distillation, arXiv 1503.02531, on kept weights"

    steps: int = 50
    batch: int = 2
    rate: float = 1e-4
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    beta2: float = 0.999
    move: Moved = "all"
    top: int = 64
    lora: int = 0

    def __post_init__(self) -> None:
        self._require("steps", self.steps >= 1, "1 or above")
        self._require("batch", self.batch >= 1, "1 or above")
        self._require("rate", 0.0 < self.rate < 1.0, "between 0 and 1")
        self._require("warmup", 0.0 <= self.warmup < 1.0, "0 or above and below 1")
        self._require("beta2", 0.0 <= self.beta2 < 1.0, "0 or above and below 1")
        self._require("top", self.top >= 1, "1 or above")
        self._require("lora", self.lora >= 0, "0 or above")
        self._require("lora", not self.lora or self.move == "all", "0 with move=norms")

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, the first of which is 0."""
        done = step / self.steps
        fall = 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        rise = min(1.0, (step + 1) / (self.warmup * self.steps)) if self.warmup else 1.0
        return self.rate * rise * fall

    @property
    def windows(self) -> int:
        """Fresh windows that it reads once each, including the held-out ones."""
        return self.steps * self.batch + HELD_OUT
