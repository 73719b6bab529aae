"""No repair."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.repair.layer import LayerRepair, Problem
from autoprune.repair.parts import NONE, REPAIRS


@REPAIRS.register(NONE)
@dataclass(frozen=True)
class Plain(LayerRepair):
    """Zero the pruned weights and leave the others alone."""

    NAME: ClassVar[str] = NONE
    SOURCE: ClassVar[str] = "Wanda, arXiv 2306.11695"
    MOVES_WEIGHTS: ClassVar[bool] = False

    @property
    def chooses(self) -> bool:
        """Never."""
        return False

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the dense weight; the caller zeroes it."""
        return problem.weight, problem.keep
