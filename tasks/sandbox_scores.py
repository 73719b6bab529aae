"""Scores from the container, fetched several layers at a time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autoprune.bench.scoring import CandidateRejectedError
from sandbox.container import LayerInput
from sandbox.outcomes import Rejected

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.models.structure import PrunableLinear
    from autoprune.statistics.layer_files import LayerFile
    from sandbox.client import Sandbox

# Scores per call; bounds the memory that a large model's scores take at a time.
CALL_BYTES = 256 << 20


class SandboxScores:
    """Scores of the dense model's layers; each layer may be requested once.

    Args:
        sandbox: An open sandbox.
        source: Python source that defines ``score``.
        params: Constants passed to it.
        files: Layer file by layer name.
        layers: The layers that will be requested, in order.
    """

    def __init__(
        self,
        sandbox: "Sandbox",
        source: str,
        params: Mapping[str, float],
        files: "Mapping[str, LayerFile]",
        layers: "Sequence[PrunableLinear]",
    ) -> None:
        self._sandbox = sandbox
        self._source = source
        self._params = dict(params)
        self._files = files
        self._batches = _batches(layers)
        self._scores: dict[str, Tensor] = {}

    @property
    def needs(self) -> frozenset[str]:
        """None: the layer files hold what the code may read."""
        return frozenset()

    def __call__(self, layer: "PrunableLinear", stats: "Mapping[str, Tensor]") -> "Tensor":
        """Scores of one layer, float32 [out, in]."""
        if layer.name not in self._scores:
            self._fetch(layer.name)
        return self._scores.pop(layer.name)

    def _fetch(self, name: str) -> None:
        import torch

        batch = next(batch for batch in self._batches if name in batch)
        files = [self._files[member] for member in batch]
        inputs = [LayerInput(file=file.path, shape=file.shape) for file in files]
        answer = self._sandbox.score(self._source, inputs, self._params)
        if isinstance(answer, Rejected):
            raise CandidateRejectedError(str(answer.code), answer.detail)
        self._scores |= {
            member: torch.from_numpy(scores)
            for member, scores in zip(batch, answer.scores, strict=True)
        }


def _batches(layers: "Sequence[PrunableLinear]") -> list[list[str]]:
    batches: list[list[str]] = [[]]
    filled = 0
    for layer in layers:
        if batches[-1] and filled + 4 * layer.numel > CALL_BYTES:
            batches.append([])
            filled = 0
        batches[-1].append(layer.name)
        filled += 4 * layer.numel
    return batches
