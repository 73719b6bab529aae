"""Weight repair after the mask; any solver works after any metric's mask."""

from autoprune.solvers.alps import Alps
from autoprune.solvers.dsnot import Dsnot
from autoprune.solvers.ebft import Ebft
from autoprune.solvers.mrp import Mrp
from autoprune.solvers.plain import Chain, Plain, build_solver
from autoprune.solvers.solver import SOLVERS, Problem, Repair, Solver, output_errors
from autoprune.solvers.sparsegpt import SparseGpt
from autoprune.solvers.sparseswaps import SparseSwaps
from autoprune.solvers.walk import Walk

__all__ = [
    "SOLVERS",
    "Alps",
    "Chain",
    "Dsnot",
    "Ebft",
    "Mrp",
    "Plain",
    "Problem",
    "Repair",
    "Solver",
    "SparseGpt",
    "SparseSwaps",
    "Walk",
    "build_solver",
    "output_errors",
]
