"""Repair block after block, each from what the repaired blocks before it give."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor

from autoprune.errors import UsageError
from autoprune.recipe import Group
from autoprune.solvers.ebft import Ebft
from autoprune.solvers.mrp import Mrp
from autoprune.solvers.plain import EBFT, WALK, Plain, build_solver
from autoprune.solvers.solver import SOLVERS, Problem, Solver


@SOLVERS.register(WALK)
@dataclass(frozen=True)
class Walk(Solver):
    """Another repair, with statistics of the model as repaired so far, written ``walk:mrp``.

    The masks still come from the dense model, so any metric can be had, one in the sandbox too.
    Who prunes with it has to run the model: :func:`autoprune.walking.prune_from_scores`.

    Args:
        inner: The repair of each layer.
        tuning: What is then done to the block as a whole.
    """

    NAME: ClassVar[str] = WALK
    SOURCE: ClassVar[str] = "block order of SparseGPT, arXiv 2301.00774"

    inner: Solver = field(default_factory=Mrp)
    tuning: Ebft | None = None

    def __post_init__(self) -> None:
        if not self.inner.needs and self.tuning is None:
            raise UsageError(
                f"solver 'walk': {self.inner.text!r} reads no statistics, so there is nothing to "
                "gain by walking; write walk:mrp or walk:sparsegpt"
            )

    @property
    def needs(self) -> frozenset[str]:
        """What the inner repair needs, at the walk."""
        return self.inner.needs

    def forgets(self, group: Group) -> bool:
        """As the inner repair does."""
        return self.inner.forgets(group)

    @property
    def text(self) -> str:
        """``walk:`` and the inner repair's text; where a block is tuned, that says it already."""
        if self.tuning is None:
            return f"{WALK}:{self.inner.text}"
        plain = isinstance(self.inner, Plain)
        return self.tuning.text if plain else f"{self.inner.text}+{self.tuning.text}"

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the inner repair."""
        return self.inner.params

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Read the inner repair, which may be a chain and may end with ``ebft``.

        ``mrp`` where nothing is written.

        Raises:
            UsageError: If it is a walk itself or wrong.
        """
        if not rest.strip():
            return cls()
        first, before, last = _ends(rest)
        if first == WALK:
            raise UsageError(
                f"solver {WALK!r} needs the repair that walks, not {rest.strip()!r}; "
                f"write {WALK}:mrp or {WALK}:dsnot+mrp"
            )
        name, _, values = last.partition(":")
        if name != EBFT:
            return cls(build_solver(rest))
        # Before it is built, as each further one would be built by a call from here.
        if _ends(before)[2].partition(":")[0] == EBFT:
            raise UsageError(
                f"solver {rest.strip()!r} names {EBFT} twice; name it once, at the end"
            )
        inner = build_solver(before) if before else Plain()
        return cls(inner, Ebft.from_text(values))

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The inner repair's proposal."""
        return self.inner.solve(problem)


def _ends(text: str) -> tuple[str, str, str]:
    """Name of the first repair in a text, all that stands before the last one, the last one."""
    first = text.partition("+")[0].partition(":")[0].strip()
    before, _, last = text.rpartition("+")
    return first, before.strip(), last.strip()
