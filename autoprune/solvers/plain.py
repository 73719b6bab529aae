"""No repair, and repairs one after the other."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.errors import UsageError
from autoprune.recipe import Group
from autoprune.solvers.solver import SOLVERS, Problem, Solver

# Stands before the whole repair: see autoprune.solvers.walk.
WALK = "walk"
# Stands last: see autoprune.solvers.ebft.
EBFT = "ebft"


@SOLVERS.register("none")
@dataclass(frozen=True)
class Plain(Solver):
    """Zero the pruned weights and leave the others alone."""

    NAME: ClassVar[str] = "none"
    SOURCE: ClassVar[str] = "Wanda, arXiv 2306.11695"
    MOVES_WEIGHTS: ClassVar[bool] = False

    @property
    def chooses(self) -> bool:
        """Never."""
        return False

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The dense weight; the caller zeroes it."""
        return problem.weight, problem.keep


@dataclass(frozen=True)
class Chain(Solver):
    """Solvers in a row: those that choose the mask first, one that moves weights last.

    Each starts from the dense weight and the mask of the one before: ``dsnot+mrp``,
    ``sparsegpt:select=own+mrp``. So a part before the last has to choose, and what it fitted is
    kept only by a last one that fits anew.

    Args:
        parts: The solvers.

    Raises:
        UsageError: If the work of a part would be lost; names the order that loses none.
    """

    NAME: ClassVar[str] = "chain"

    parts: tuple[Solver, ...] = ()

    def __post_init__(self) -> None:
        *before, last = self.parts
        lost = [part for part in before if not part.chooses]
        if not last.MOVES_WEIGHTS:
            lost += [part for part in before if part.MOVES_WEIGHTS]
            lost += [] if last.chooses else [last]
        if not lost:
            return
        # Stable, so that what is in order already stays as it was written.
        ranked = sorted(self.parts, key=lambda part: (part.MOVES_WEIGHTS, not part.chooses))
        useful = [p for p in ranked if p.chooses or (p is ranked[-1] and p.MOVES_WEIGHTS)]
        order = "+".join(part.text for part in useful or [last])
        raise UsageError(
            f"solver {self.text!r} would lose what {lost[0].text!r} does, since each part starts "
            "from the dense weights and takes over only the mask; write what chooses the mask "
            f"first, one repair that moves weights last: {order}"
        )

    @property
    def needs(self) -> frozenset[str]:
        """What any part needs."""
        return frozenset[str]().union(*(part.needs for part in self.parts))

    @property
    def text(self) -> str:
        """Texts of the parts, joined by ``+``."""
        return "+".join(part.text for part in self.parts)

    def forgets(self, group: Group) -> bool:
        """As its first part does: what comes later starts from that one's mask."""
        return self.parts[0].forgets(group)

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The last part's weight on the refined mask."""
        weight, keep = problem.weight, problem.keep
        for part in self.parts:
            result = part.repair(
                problem.weight, keep, problem.stats, problem.pattern, problem.saved
            )
            weight, keep = result.weight, result.keep
            problem.notes.extend(result.notes)
        return weight, keep


def build_solver(text: str) -> Solver:
    """Build a solver from ``NAME``, ``NAME:key=value,...`` or several joined by ``+``.

    ``walk:`` before all of that, or ``ebft`` at its end, walks the blocks; see
    :class:`~autoprune.solvers.walk.Walk`.

    Raises:
        UnknownNameError: If no solver has the name; suggests the nearest.
        UsageError: If a parameter is unknown or out of range.
    """
    first, colon, after = text.strip().partition(":")
    if first.strip() == WALK and colon:
        return SOLVERS.get(WALK).from_text(after)
    pieces = [piece.strip().partition(":") for piece in text.split("+")]
    if pieces[-1][0] == EBFT:
        return SOLVERS.get(WALK).from_text(text)
    parts = []
    for name, _, rest in pieces:
        if name == WALK and len(pieces) > 1:
            raise UsageError(
                f"solver {text!r} is not understood; {WALK}: stands before the whole repair, as in "
                f"{WALK}:dsnot+mrp"
            )
        if name == EBFT:
            raise UsageError(
                f"solver {text!r} is not understood; {EBFT} tunes what the other repairs of a "
                f"block have left and stands last, as in mrp+{EBFT}"
            )
        if not name:
            raise UsageError(f"solver {text!r} is not understood; write NAME or NAME+NAME")
        parts.append(SOLVERS.get(name).from_text(rest))
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))
