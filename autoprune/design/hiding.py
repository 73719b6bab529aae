"""Components that a search is not to know of, to see whether it finds them again."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from autoprune.allocation import ALLOCATORS
from autoprune.allocation.formula import DESCRIPTORS
from autoprune.errors import UnknownNameError, UsageError
from autoprune.metrics.language import FUNCTIONS, TERMINALS
from autoprune.repair import NONE, SOLVERS

# What stands for a hidden word in somebody's own words.
BLANKED = "(hidden)"
DETAIL = "a part of it is hidden in this search; use only what the prompt lists"
# Without these no recipe can be written.
NEEDED = frozenset({"W", "abs", NONE, "uniform"})


@dataclass(frozen=True)
class Hidden:
    """Names of repairs, allocations, statistics, functions and words of allocation formulas."""

    names: tuple[str, ...] = ()

    @cached_property
    def _form(self) -> re.Pattern[str]:
        names = "|".join(re.escape(name) for name in self.names)
        return re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE)

    def finds(self, *texts: str) -> bool:
        """Whether one of the texts has a hidden name as a word."""
        return bool(self.names) and any(self._form.search(text) for text in texts)

    def left(self, names: Iterable[str]) -> tuple[str, ...]:
        """The texts without a hidden name."""
        return tuple(name for name in names if not self.finds(name))

    def blanked(self, text: str) -> str:
        """The text without the words."""
        return self._form.sub(BLANKED, text) if self.names else text


NOTHING = Hidden()


def require_hidable(names: Sequence[str], reference: str) -> None:
    """Refuse to hide what does not exist, or what no search can do without.

    Args:
        names: What is to be hidden.
        reference: Metric that changes are counted from.

    Raises:
        UnknownNameError: If nothing has the name; suggests the nearest.
        UsageError: If a name is needed.
    """
    solvers, allocations = (name for name, _ in SOLVERS.items()), (n for n, _ in ALLOCATORS.items())
    known = [*solvers, *allocations, *TERMINALS, *FUNCTIONS, *DESCRIPTORS, "magnitude", "ria"]
    for name in names:
        if name in NEEDED or name == reference:
            raise UsageError(f"{name} cannot be hidden: no recipe or no comparison is left without")
        if name not in known:
            raise UnknownNameError("component", name, known)
    if {"min", "max"} <= set(names):
        raise UsageError("min and max cannot both be hidden: the language needs one of them")
