"""Schemes make a model smaller: fewer or narrower blocks, fewer experts."""

from autoprune.schemes.depth import Depth
from autoprune.schemes.experts import Experts
from autoprune.schemes.plan import SchemePlan, Step
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
