"""Weight repair after the mask; any solver works after any metric's mask."""

from autoprune.solvers.mrp import Mrp
from autoprune.solvers.plain import Chain, Plain, build_solver
from autoprune.solvers.solver import SOLVERS, Problem, Repair, Solver, output_errors
from autoprune.solvers.sparsegpt import SparseGpt

__all__ = [
    "SOLVERS",
    "Chain",
    "Mrp",
    "Plain",
    "Problem",
    "Repair",
    "Solver",
    "SparseGpt",
    "build_solver",
    "output_errors",
]
