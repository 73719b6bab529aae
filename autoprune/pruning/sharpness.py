"""The gradient a step uphill, so that a tuning ends where the error is flat."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from autoprune.pruning.masters import Master


@contextmanager
def uphill(
    parts: Sequence[Master],
    gradients: Sequence[Tensor | None],
    sizes: Sequence[float],
    share: float,
) -> Iterator[None]:
    """Weights moved along their gradient inside of it, and back to the bit afterwards.

    All parts together are one vector, each in units of its size, in which the length of the step
    is a share of the weights' own length. Pruned weights do not move.

    Args:
        parts: What moves.
        gradients: Of the parameters, used up here; None where nothing reached one.
        sizes: Root mean square of each part's kept weights.
        share: Length of the step, above 0.

    References:
        SAM, arXiv 2010.01412, equation 2, in the units of ASAM, arXiv 2102.11600; for pruning SAFE,
        arXiv 2506.06866.
    """
    copies = [part.master.detach().clone() for part in parts]
    squares = []
    for part, gradient, size in zip(parts, gradients, sizes, strict=True):
        part.take(gradient)
        if part.master.grad is not None:
            squares.append(float(part.master.grad.square().sum()) * size**2)
    length = math.sqrt(sum(squares))
    own = math.sqrt(sum(_moving(part) for part in parts))
    for part, size in zip(parts, sizes, strict=True):
        if part.master.grad is not None and length > 0.0:
            part.master.add_(part.master.grad, alpha=share * own * size**2 / length)
        part.publish()
    try:
        yield
    finally:
        for part, copy in zip(parts, copies, strict=True):
            part.master.copy_(copy)
            part.publish()


def _moving(part: Master) -> int:
    pruned = 0 if part.pruned is None else int(torch.count_nonzero(part.pruned))
    return part.master.numel() - pruned
