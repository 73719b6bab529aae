"""Designed code behind the library's :class:`autoprune.bench.scoring.Scorer`: the container."""

import os
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.scoring import CandidateRejectedError, HostScorer, require_offered
from autoprune.candidate import Candidate
from autoprune.metrics.language.expression import parse
from autoprune.statistics.layer_files import write_layer_files
from sandbox.client import Sandbox
from sandbox.limits import Limits
from sandbox.outcomes import Rejected
from tasks.sandbox_scores import SandboxScores

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench
    from autoprune.models.structure import PrunableLinear
    from autoprune.pruning import Score
    from autoprune.statistics.layer_files import LayerFile
    from autoprune.statistics.statistics import Statistics


class SandboxScorer(HostScorer):
    """Built-in metrics on the host, everything else in the sandbox.

    Args:
        inputs: Folder that containers may read.
        run_id: Name of the run, for its containers.
        more: See :class:`autoprune.bench.scoring.HostScorer`.
        warm: Containers kept ready; at most one per core.
    """

    def __init__(
        self, inputs: Path, run_id: str, more: Collection[str] = (), warm: int = Limits().warm
    ) -> None:
        super().__init__(more)
        self._warm = warm
        self._inputs = inputs
        self._run_id = run_id
        self._files: dict[int, dict[str, LayerFile]] = {}

    @cached_property
    def sandbox(self) -> Sandbox:
        """The sandbox, opened at first use."""
        self._inputs.mkdir(parents=True, exist_ok=True)
        # More than the machine has cores are not ready any sooner.
        limits = Limits(warm=min(self._warm, os.cpu_count() or 1))
        return Sandbox(
            inputs=self._inputs, limits=limits, run_id=self._run_id, statistics=self.offered
        ).__enter__()

    def probe(self, candidate: Candidate) -> None:
        """See :class:`autoprune.bench.scoring.Scorer`."""
        if candidate.kind == "builtin":
            return

        answer = self.sandbox.probe(python_source(candidate), dict(candidate.params))
        if isinstance(answer, Rejected):
            raise CandidateRejectedError(answer.code, answer.detail)

    def score(
        self, bench: "Bench", candidate: Candidate, layers: "Sequence[PrunableLinear]", draw: int
    ) -> "Score":
        """See :class:`autoprune.bench.scoring.Scorer`."""
        if candidate.kind == "builtin":
            return super().score(bench, candidate, layers, draw)
        require_offered(candidate, self.offered)
        if draw not in self._files:
            bench.restore()
            self._files[draw] = self._written(bench.layers, bench.calibrated(self.offered, draw))
        source = python_source(candidate)
        return SandboxScores(self.sandbox, source, candidate.params, self._files[draw], layers)

    def _written(
        self, layers: "Sequence[PrunableLinear]", statistics: "Statistics"
    ) -> "dict[str, LayerFile]":
        """Read-only files of weights and offered statistics, by layer name."""
        written = write_layer_files(layers, statistics, self._inputs, names=sorted(self.offered))
        return {file.layer_name: file for file in written}

    def close(self) -> None:
        """Stop the sandbox."""
        opened: Any = self.__dict__.pop("sandbox", None)
        if opened is not None:
            opened.__exit__(None, None, None)
        self._files.clear()


def python_source(candidate: Candidate) -> str:
    """What runs in the sandbox: the code itself, or the formula compiled by the trusted side."""
    if candidate.kind == "python":
        return candidate.source

    return parse(candidate.source).to_python()
