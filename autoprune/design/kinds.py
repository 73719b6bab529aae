"""Who can design, by name."""

from typing import Literal

DesignerKind = Literal[
    "auto", "openai", "local", "self", "files", "scripted", "none", "genetic", "random"
]
# These ask no language model.
SILENT: tuple[DesignerKind, ...] = ("none", "genetic", "random")
