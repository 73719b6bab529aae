"""Layer programs: designed code that chooses and moves a layer's weights, run by somebody else."""

from autoprune.programs.budget import LayerBudget, Settled, settle
from autoprune.programs.layers import (
    READS,
    LayerTask,
    ProgramRunner,
    ProgramWeights,
    weights_digest,
)

__all__ = [
    "READS",
    "LayerBudget",
    "LayerTask",
    "ProgramRunner",
    "ProgramWeights",
    "Settled",
    "settle",
    "weights_digest",
]
