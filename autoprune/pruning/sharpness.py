"""Take gradients one step uphill, so that tuning ends where the error is flat."""

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
    """Move weights along their gradient inside the context; restore them exactly afterwards.

    All parts form one vector, each in units of its size; the length of the step is a share of that
    vector's length. Pruned weights do not move.

    Args:
        parts: Masters to move.
        gradients: Gradients of the parameters, consumed here; None where none reached one.
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
