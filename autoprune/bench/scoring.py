"""Scorers of weights for a bench: built-in maths on the host, or a sandbox for designed code."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.metrics import candidate_metric
from autoprune.metrics.language.expression import parse
from autoprune.pruning import MetricScore

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench
    from autoprune.models.structure import PrunableLinear
    from autoprune.pruning import Score

__all__ = ["OFFERED", "CandidateRejectedError", "HostScorer", "Scorer", "require_offered"]

# Statistics that designed metrics may read; costly ones are for built-in metrics and programs.
OFFERED = frozenset({"x_norm", "x_mean", "x_var", "x_max"})


class Scorer(Protocol):
    """The only entry point for designed code: the library never runs any itself."""

    def probe(self, candidate: Candidate) -> None:
        """Try a candidate before it is scored."""
        ...

    def score(
        self, bench: "Bench", candidate: Candidate, layers: "Sequence[PrunableLinear]", draw: int
    ) -> "Score":
        """Score the dense model's layers."""
        ...

    def close(self) -> None:
        """Release everything that was opened for scoring."""
        ...


class HostScorer:
    """Scores built-in metrics and formulas of the metric language; never runs Python code.

    Args:
        more: Statistics that designed metrics may read besides :data:`OFFERED`.
    """

    def __init__(self, more: Collection[str] = ()) -> None:
        self.offered = OFFERED.union(more)

    def probe(self, candidate: Candidate) -> None:
        """Nothing to try: :meth:`score` checks a formula."""

    def score(
        self, bench: "Bench", candidate: Candidate, layers: "Sequence[PrunableLinear]", draw: int
    ) -> "Score":
        """See :class:`Scorer`."""
        if candidate.kind == "python":
            raise CandidateRejectedError(
                "no_sandbox", "Python code runs only in the sandbox, which is off"
            )
        require_offered(candidate, self.offered)
        return MetricScore(candidate_metric(candidate))

    def close(self) -> None:
        """Nothing was opened."""


def require_offered(candidate: Candidate, offered: Collection[str] = OFFERED) -> None:
    """Refuse a formula that reads statistics not offered to designed metrics."""
    if candidate.kind != "expression":
        return

    missing = sorted(parse(candidate.source).needs.difference(offered))
    if missing:
        raise CandidateRejectedError(
            "missing_statistic",
            f"{', '.join(missing)} was not collected; use {', '.join(sorted(offered))}",
        )
