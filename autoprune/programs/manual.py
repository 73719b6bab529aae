"""The page on programs as designers read it: the contract and the toolbox, nothing else."""

import re
from functools import lru_cache
from pathlib import Path

from autoprune.errors import AutopruneError

NAME = "programs.md"
# Sections that a prompt holds.
SHOWN = ("What a program is handed", "A block program", "Rules", "The toolbox")


@lru_cache(maxsize=1)
def manual() -> str:
    """The sections for designers, as Markdown.

    Raises:
        AutopruneError: If neither the installed package nor the checkout holds the page.
    """
    here = Path(__file__).parent
    for path in (here / NAME, here.parents[1] / "docs" / NAME):
        if path.is_file():
            return _sections(path.read_text(encoding="utf-8"))
    raise AutopruneError(f"the page {NAME} is missing next to {here}; install AutoPrune again")


@lru_cache(maxsize=1)
def toolbox() -> tuple[str, ...]:
    """Names of the functions that programs may import from the toolbox."""
    return tuple(re.findall(r"^\| `(\w+)\(", manual(), re.MULTILINE))


def _sections(text: str) -> str:
    parts = text.split("\n## ")[1:]
    chosen = [part.strip() for part in parts if part.partition("\n")[0] in SHOWN]
    return "\n\n".join(chosen)
