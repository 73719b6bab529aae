"""Recovery of the whole model, after masks, layer repairs and block tuning."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from autoprune.repair.parts import RECOVER, SOLVERS, RepairPart

Moved = Literal["all", "norms"]
# Windows that only judge: whether to stop, and which weights to keep.
HELD_OUT = 4


@SOLVERS.register(RECOVER)
@dataclass(frozen=True)
class ModelRecovery(RepairPart):
    """Train what is left on the dense model's predictions for fresh text; last of a repair.

    Masks stay exactly as they are. See :func:`autoprune.pruning.recovery.recover`.

    Args:
        steps: Steps of AdamW, at most; the rate falls to zero along a cosine over all of them.
        batch: Windows of a step.
        rate: First step size of AdamW.
        move: What moves: ``all`` the kept weights with the norms and biases, or the ``norms`` and
            biases alone (PERP, arXiv 2312.15230), for which a rate of 0.001 is usual.
        top: Predictions of the dense model that are kept for each token; the rest of its
            vocabulary counts as one outcome.
        lora: Rank of the masked updates by which matrices move, merged when all is done (MaskLoRA
            of PERP, arXiv 2312.15230), for which a rate of 0.001 is usual; 0: every kept weight
            moves by itself.
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
        """Fresh windows that it reads once each, those that only judge among them."""
        return self.steps * self.batch + HELD_OUT
