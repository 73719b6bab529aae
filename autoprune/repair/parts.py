"""What the text of a repair is made of, and the registry that plug-ins join."""

from dataclasses import dataclass
from typing import ClassVar

from autoprune.registry import Registry
from autoprune.textform import TextForm

NONE = "none"
# Stands before the whole repair: see autoprune.repair.repair.
WALK = "walk"
# Stands behind the repairs of layers: see autoprune.repair.block.
EBFT = "ebft"
# Stands last: see autoprune.repair.recover.
RECOVER = "recover"


@dataclass(frozen=True)
class RepairPart(TextForm):
    """A word of a repair's text with its parameters: ``mrp:damp=0.02``."""

    KIND: ClassVar[str] = "repair"


SOLVERS: Registry[type[RepairPart]] = Registry("repair", "autoprune.solvers")
