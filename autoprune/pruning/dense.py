"""A backup of the dense weights."""

from collections.abc import Iterable, Sequence

from torch import nn

from autoprune.models.structure import PrunableLinear


class DenseWeights:
    """A copy of what pruning may change, so that a search can prune, measure and restore.

    As a context manager, it always restores on exit, even after an error.

    Args:
        layers: The layers to remember.
        vectors: Norms and biases to remember, since some repairs change them too; see
            :func:`autoprune.pruning.vectors_of`.
    """

    def __init__(
        self, layers: Sequence[PrunableLinear], vectors: Iterable[nn.Parameter] = ()
    ) -> None:
        self._layers = list(layers)
        self._vectors = [(value, value.detach().clone()) for value in vectors]
        self._copies = [layer.read().clone() for layer in self._layers]

    def restore(self) -> None:
        """Restore every weight exactly."""
        for layer, copy in zip(self._layers, self._copies, strict=True):
            layer.write(copy)
        for value, own in self._vectors:
            value.detach().copy_(own)

    def __enter__(self) -> "DenseWeights":
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
