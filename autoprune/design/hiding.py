"""Components hidden from a search, to see whether it rediscovers them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from autoprune.allocation import ALLOCATORS
from autoprune.allocation.formula import DESCRIPTORS
from autoprune.allocation.selection import UNIFORM
from autoprune.errors import UnknownNameError, UsageError
from autoprune.metrics.language import FUNCTIONS, TERMINALS
from autoprune.programs.manual import toolbox
from autoprune.repair import NONE, REPAIRS

# Replacement for a hidden word in free text.
BLANKED = "(hidden)"
DETAIL = "a part of it is hidden in this search; use only what the prompt lists"
# Without these no recipe can be written.
NEEDED = frozenset({"W", "abs", NONE, UNIFORM})
# Functions of the toolbox for programs that are a repair by another name.
IMPLIED = {"ebft": ("descend_block",)}


@dataclass(frozen=True)
class Hidden:
    """Hidden names of repairs, allocations, statistics, functions and words of allocations.

    Functions of the toolbox for programs may be hidden too.
    """

    names: tuple[str, ...] = ()

    @cached_property
    def _form(self) -> re.Pattern[str]:
        implied = (other for name in self.names for other in IMPLIED.get(name, ()))
        names = "|".join(map(re.escape, dict.fromkeys((*self.names, *implied))))
        return re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE)

    def finds(self, *texts: str) -> bool:
        """Whether one of the texts contains a hidden name as a word."""
        return bool(self.names) and any(self._form.search(text) for text in texts)

    def left(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names that contain no hidden name."""
        return tuple(name for name in names if not self.finds(name))

    def blanked(self, text: str) -> str:
        """Replace the hidden words in a text."""
        return self._form.sub(BLANKED, text) if self.names else text


NOTHING = Hidden()


def require_hidable(names: Sequence[str], reference: str) -> None:
    """Refuse to hide components that do not exist or that every search needs."""
    repairs, allocations = (name for name, _ in REPAIRS.items()), (n for n, _ in ALLOCATORS.items())
    known = [*repairs, *allocations, *TERMINALS, *FUNCTIONS, *DESCRIPTORS, "magnitude", "ria"]
    known += toolbox()
    for name in names:
        if name in NEEDED or name == reference:
            raise UsageError(
                f"{name} cannot be hidden: no recipe or no comparison is possible without it"
            )
        if name not in known:
            raise UnknownNameError("component", name, known)
    if {"min", "max"} <= set(names):
        raise UsageError("min and max cannot both be hidden: the language needs one of them")
