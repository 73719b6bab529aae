"""Weight repair after the mask: of each layer, then of the block; any works with any metric."""

from autoprune.repair.alps import Alps
from autoprune.repair.block import BlockTuning
from autoprune.repair.dsnot import Dsnot
from autoprune.repair.layer import LayerRepair, Problem, Repaired, output_errors
from autoprune.repair.mrp import Mrp
from autoprune.repair.parts import EBFT, NONE, SOLVERS, WALK, RepairPart
from autoprune.repair.plain import Plain
from autoprune.repair.repair import Order, Repair
from autoprune.repair.sparsegpt import SparseGpt
from autoprune.repair.sparseswaps import SparseSwaps

__all__ = [
    "EBFT",
    "NONE",
    "SOLVERS",
    "WALK",
    "Alps",
    "BlockTuning",
    "Dsnot",
    "LayerRepair",
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
