"""Verifiers of reasoning steps: how certain is it that each step of a solution is right?"""

from autoprune.verify import programmatic, surprisal, uhead
from autoprune.verify.chains import Chain, draw_chains
from autoprune.verify.training import Training, train_verifier
from autoprune.verify.uhead import UHead
from autoprune.verify.verifier import (
    VERIFIERS,
    StepVerifier,
    find_verifier,
    open_verifier,
)

# Importing a module registers its verifier.
BUILT_IN = (programmatic, surprisal, uhead)

__all__ = [
    "BUILT_IN",
    "VERIFIERS",
    "Chain",
    "StepVerifier",
    "Training",
    "UHead",
    "draw_chains",
    "find_verifier",
    "open_verifier",
    "train_verifier",
]
