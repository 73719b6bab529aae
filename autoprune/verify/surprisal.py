"""Verifier ``surprisal``: how likely the reader finds the tokens of a step."""

from collections.abc import Sequence
from pathlib import Path

from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.verify.chains import Chain
from autoprune.verify.reading import read_steps
from autoprune.verify.verifier import VERIFIERS, StepVerifier


@VERIFIERS.register("surprisal")
class Surprisal(StepVerifier):
    """``exp`` of the mean log-probability of a step's tokens: their geometric mean probability.

    Args:
        reader: The model whose probabilities are used.
    """

    NAME = "surprisal"

    def __init__(self, reader: LoadedModel) -> None:
        self._reader = reader

    @classmethod
    def open(cls, reader: LoadedModel, folder: Path | None) -> "Surprisal":
        """See :class:`StepVerifier`."""
        return cls(reader)

    def score_chains(self, chains: Sequence[Chain], report: Report = silent) -> list[list[float]]:
        """See :class:`StepVerifier`."""
        read = read_steps(self._reader, chains, report=report)
        return [[float(step.surprise.mean().exp()) for step in steps] for steps in read]
