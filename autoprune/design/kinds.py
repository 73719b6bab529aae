"""Names of the kinds of designers, and what one of them needs."""

import os
from typing import Literal

from autoprune.errors import PrerequisiteError
from autoprune.search_settings import SILENT_KINDS

DesignerKind = Literal[
    "auto", "openai", "local", "self", "files", "scripted", "none", "genetic", "random"
]
# Kinds that ask no language model.
SILENT: tuple[DesignerKind, ...] = SILENT_KINDS


def require_key(kind: str, address: str | None) -> None:
    """Refuse the designer ``openai`` without a key where the endpoint is OpenAI's own."""
    named = address or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")
    if kind == "openai" and not named:
        raise PrerequisiteError(
            "OPENAI_API_KEY is not set, which api.openai.com asks for; set it, or name another "
            "endpoint with --base-url or OPENAI_BASE_URL"
        )
