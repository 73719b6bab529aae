"""The dense weights, kept aside."""

from collections.abc import Sequence

from autoprune.models.structure import PrunableLinear


class DenseWeights:
    """A copy of the prunable weights, so that a search can prune, measure and restore.

    As a context manager it restores on the way out, whatever happened inside.

    Args:
        layers: The layers to remember.
    """

    def __init__(self, layers: Sequence[PrunableLinear]) -> None:
        self._layers = list(layers)
        self._copies = [layer.read().clone() for layer in self._layers]

    def restore(self) -> None:
        """Write every weight back, bit by bit."""
        for layer, copy in zip(self._layers, self._copies, strict=True):
            layer.write(copy)

    def __enter__(self) -> "DenseWeights":
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
