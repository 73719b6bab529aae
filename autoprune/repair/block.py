"""EBFT: tune the weights that a block keeps until the block gives what it gave while dense."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from autoprune.repair.parts import EBFT, SOLVERS, RepairPart

Passes = Literal["float32", "bfloat16"]


@SOLVERS.register(EBFT)
@dataclass(frozen=True)
class BlockTuning(RepairPart):
    """Block-wise fine-tuning of the kept weights, alone or last in a chain: ``mrp+ebft``.

    It goes block by block like ``walk:``, since a block and not a layer is what it works on; see
    :func:`autoprune.pruning.tuning.tune_block`.

    Args:
        epochs: Passes over the calibration text, per block.
        rate: First step of Adam, in units of the root mean square of a matrix's kept weights; it
            falls to zero in a straight line.
        anchor: Share of the dense model's own hidden state in what a block should give; the rest is
            what the dense block gives on the pruned model's inputs. At 0 a block only answers for
            itself, at 1 it also makes good what the blocks before it have lost.
        batch: Windows of a step.
        passes: Type of the products of all other passes of a block, where the machine has it: those
            that give goals and statistics and carry hidden states on. The products of the steps
            themselves, and what is added up, are not concerned.
        norms: Whether the block's norms and biases are tuned with its kept weights, as in PERP,
            arXiv 2312.15230.
        halves: First attention is tuned, until the state behind it is what it was while dense, then
            the MLP, until the block's output is; each takes all epochs. Families whose blocks have
            no such state are refused.
        regrow: Share of the kept weights, the smallest of each group, that are exchanged for pruned
            ones at each of four points in the first half of the steps; see
            :func:`autoprune.pruning.regrow.exchanged`. Then the masks that come out are others.
        sharpness: The gradient is taken at weights moved uphill by this share of their length, so
            that the tuning prefers a flat minimum; 0: where they are. Takes every step twice.
    """

    NAME: ClassVar[str] = EBFT
    SOURCE: ClassVar[str] = "EBFT, arXiv 2402.12419"

    epochs: int = 4
    rate: float = 0.01
    anchor: float = 0.5
    batch: int = 1
    passes: Passes = "float32"
    norms: bool = False
    halves: bool = False
    regrow: float = 0.0
    sharpness: float = 0.0

    def __post_init__(self) -> None:
        self._require("epochs", self.epochs >= 1, "1 or above")
        self._require("rate", 0.0 < self.rate < 1.0, "between 0 and 1")
        self._require("anchor", 0.0 <= self.anchor <= 1.0, "from 0 to 1")
        self._require("batch", self.batch >= 1, "1 or above")
        for share in ("regrow", "sharpness"):
            self._require(share, 0.0 <= getattr(self, share) < 1.0, "from 0 to below 1")
