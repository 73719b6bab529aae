"""Recovery of the whole model, after masks, layer repairs and block tuning."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from autoprune.repair.parts import RECOVER, SOLVERS, RepairPart

Moved = Literal["all", "norms"]
# Windows held out to decide when to stop and which weights to keep.
HELD_OUT = 4


@SOLVERS.register(RECOVER)
@dataclass(frozen=True)
class ModelRecovery(RepairPart):
    """Train the kept weights on the dense model's predictions for fresh text; last in a repair.

    Masks stay exactly as they are. See :func:`autoprune.pruning.recovery.recover`.

    Args:
        steps: Maximum number of AdamW steps; the rate falls to zero along a cosine over all.
        batch: Windows per step.
        rate: Initial learning rate of AdamW.
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
    move: Moved = "all"
    top: int = 64
    lora: int = 0

    def __post_init__(self) -> None:
        self._require("steps", self.steps >= 1, "1 or above")
        self._require("batch", self.batch >= 1, "1 or above")
        self._require("rate", 0.0 < self.rate < 1.0, "between 0 and 1")
        self._require("top", self.top >= 1, "1 or above")
        self._require("lora", self.lora >= 0, "0 or above")
        self._require("lora", not self.lora or self.move == "all", "0 beside move=norms")

    @property
    def windows(self) -> int:
        """Fresh windows that it reads once each, including the held-out ones."""
        return self.steps * self.batch + HELD_OUT
