"""Schemes make a model smaller: fewer or narrower blocks, a smaller hidden size, fewer experts."""

from autoprune.schemes.depth import Depth
from autoprune.schemes.experts import Experts
from autoprune.schemes.plan import Gate, SchemePlan, Step
from autoprune.schemes.rotate import Rotate
from autoprune.schemes.router import Router
from autoprune.schemes.scans import BlockScans, remembering
from autoprune.schemes.scheme import SCHEMES, Scheme, SchemeChain, build_scheme, parts_of
from autoprune.schemes.shrink import Shrunk, require_share, shrink
from autoprune.schemes.skip import Skip, skipped_computations
from autoprune.schemes.width import Width

__all__ = [
    "SCHEMES",
    "BlockScans",
    "Depth",
    "Experts",
    "Gate",
    "Rotate",
    "Router",
    "Scheme",
    "SchemeChain",
    "SchemePlan",
    "Shrunk",
    "Skip",
    "Step",
    "Width",
    "build_scheme",
    "parts_of",
    "remembering",
    "require_share",
    "shrink",
    "skipped_computations",
]
