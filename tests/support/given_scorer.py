"""Designed code without a container: a scorer that a test writes."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from autoprune.bench.bench import Bench
from autoprune.bench.scoring import CandidateRejectedError
from autoprune.models.structure import PrunableLinear
from autoprune.pruning import Score
from autoprune.recipe import Candidate, Recipe

PYTHON = Recipe(Candidate("python", "def score(W, stats, params): ...\n"))


class GivenScorer:
    """Scores every metric by one function of a layer and its statistics.

    Args:
        score: Scores [out, in].
        needs: Statistics that it reads.
        refuses: Code with which :meth:`probe` turns everything away; empty: nothing.
    """

    def __init__(
        self,
        score: Callable[[PrunableLinear, Mapping[str, Tensor]], Tensor],
        needs: Sequence[str] = ("x_norm",),
        refuses: str = "",
    ) -> None:
        self._score = score
        self.needs = frozenset(needs)
        self.refuses = refuses
        self.asked: list[str] = []
        self.closed = False

    def probe(self, candidate: Candidate) -> None:
        if self.refuses:
            raise CandidateRejectedError(self.refuses, "rejected by a test")

    def score(
        self, bench: Bench, candidate: Candidate, layers: Sequence[PrunableLinear], draw: int
    ) -> Score:
        return self

    def __call__(self, layer: PrunableLinear, stats: Mapping[str, Tensor]) -> Tensor:
        self.asked.append(layer.name)
        return self._score(layer, stats)

    def close(self) -> None:
        self.closed = True


def wanda(layer: PrunableLinear, stats: Mapping[str, Tensor]) -> Tensor:
    """What the built-in metric of this name gives."""
    return layer.read().abs() * stats["x_norm"]
