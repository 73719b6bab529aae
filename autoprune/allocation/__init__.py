"""Layer budgets: how much of each layer to prune; all allocators share one exact projection."""

from autoprune.allocation.allocator import ALLOCATORS, Allocator, allocate, build_allocator
from autoprune.allocation.context import AllocationContext, ModelContext, Unit
from autoprune.allocation.formula import Formula
from autoprune.allocation.middle import Middle
from autoprune.allocation.outlier import Dlp, Owl
from autoprune.allocation.projection import project
from autoprune.allocation.ramp import Ramp
from autoprune.allocation.sdsa import Sdsa
from autoprune.allocation.selection import GRID, AllocationChoice, auto_grid, choose_allocator
from autoprune.allocation.spectral import Alpha
from autoprune.allocation.uniform import Given, Uniform

__all__ = [
    "ALLOCATORS",
    "GRID",
    "AllocationChoice",
    "AllocationContext",
    "Allocator",
    "Alpha",
    "Dlp",
    "Formula",
    "Given",
    "Middle",
    "ModelContext",
    "Owl",
    "Ramp",
    "Sdsa",
    "Uniform",
    "Unit",
    "allocate",
    "auto_grid",
    "build_allocator",
    "choose_allocator",
    "project",
]
