"""Names of the kinds of designers."""

from typing import Literal

DesignerKind = Literal[
    "auto", "openai", "local", "self", "files", "scripted", "none", "genetic", "random"
]
# Kinds that ask no language model.
SILENT: tuple[DesignerKind, ...] = ("none", "genetic", "random")
