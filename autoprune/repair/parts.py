"""The elements of a repair's text form, and the registry for plug-ins."""

from dataclasses import dataclass
from typing import ClassVar

from autoprune.registry import Registry
from autoprune.textform import TextForm

NONE = "none"
# Precedes the whole repair: see autoprune.repair.repair.
WALK = "walk"
# Follows the layer repairs: see autoprune.repair.block.
EBFT = "ebft"
# Comes last: see autoprune.repair.recover.
RECOVER = "recover"


@dataclass(frozen=True)
class RepairPart(TextForm):
    """One element of a repair's text with its parameters: ``mrp:damp=0.02``."""

    KIND: ClassVar[str] = "repair"


REPAIRS: Registry[type[RepairPart]] = Registry("repair", "autoprune.solvers")
