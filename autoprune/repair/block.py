"""EBFT: tune a block's kept weights to restore the output of the dense block."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from autoprune.repair.parts import EBFT, REPAIRS, RepairPart

Passes = Literal["float32", "bfloat16"]


@REPAIRS.register(EBFT)
@dataclass(frozen=True)
class BlockTuning(RepairPart):
    """Block-wise fine-tuning of the kept weights, alone or last in a chain: ``mrp+ebft``.

    Runs block by block like ``walk:``, since it tunes whole blocks rather than layers; see
    :func:`autoprune.pruning.tuning.tune_block`.

    Args:
        epochs: Passes over the calibration text per block.
        rate: Initial step size of Adam, in units of the root mean square of a matrix's kept
            weights; it decays linearly to zero.
        anchor: Share of the dense model's own hidden state in a block's target; the rest is the
            dense block's output on the pruned model's inputs. At 0 a block corrects only its own
            error; at 1 it also compensates for the blocks before it.
        batch: Windows per step.
        passes: Data type of matrix products in passes without gradients, if the machine supports
            it: those that compute targets and statistics and carry hidden states forward. Tuning
            steps and accumulations are not affected.
    """

    NAME: ClassVar[str] = EBFT
    SOURCE: ClassVar[str] = "EBFT, arXiv 2402.12419"

    epochs: int = 4
    rate: float = 0.01
    anchor: float = 0.5
    batch: int = 1
    passes: Passes = "float32"

    def __post_init__(self) -> None:
        self._require("epochs", self.epochs >= 1, "1 or above")
        self._require("rate", 0.0 < self.rate < 1.0, "between 0 and 1")
        self._require("anchor", 0.0 <= self.anchor <= 1.0, "from 0 to 1")
        self._require("batch", self.batch >= 1, "1 or above")
