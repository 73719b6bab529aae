"""Weight repair after masking, for layers, blocks or the whole model; works with any metric."""

from autoprune.repair.alps import Alps
from autoprune.repair.block import BlockTuning
from autoprune.repair.dsnot import Dsnot
from autoprune.repair.layer import LayerRepair, Problem, Repaired, output_errors
from autoprune.repair.mrp import Mrp
from autoprune.repair.parts import EBFT, NONE, RECOVER, REPAIRS, WALK, RepairPart
from autoprune.repair.plain import Plain
from autoprune.repair.recover import HELD_OUT, ModelRecovery
from autoprune.repair.repair import Order, Repair
from autoprune.repair.sparsegpt import SparseGpt
from autoprune.repair.sparseswaps import SparseSwaps

__all__ = [
    "EBFT",
    "HELD_OUT",
    "NONE",
    "RECOVER",
    "REPAIRS",
    "WALK",
    "Alps",
    "BlockTuning",
    "Dsnot",
    "LayerRepair",
    "ModelRecovery",
    "Mrp",
    "Order",
    "Plain",
    "Problem",
    "Repair",
    "RepairPart",
    "Repaired",
    "SparseGpt",
    "SparseSwaps",
    "output_errors",
]
