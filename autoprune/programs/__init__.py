"""Programs: designed code that chooses and moves weights of a layer or a block, run elsewhere."""

from autoprune.programs.blocks import BlockTask, block_form, names_in_block, require_same
from autoprune.programs.budget import LayerBudget, Settled, settle
from autoprune.programs.layers import (
    READS,
    AppliedProgram,
    LayerTask,
    ProgramRunner,
    ProgramWeights,
    weights_digest,
)

__all__ = [
    "READS",
    "AppliedProgram",
    "BlockTask",
    "LayerBudget",
    "LayerTask",
    "ProgramRunner",
    "ProgramWeights",
    "Settled",
    "block_form",
    "names_in_block",
    "require_same",
    "settle",
    "weights_digest",
]
