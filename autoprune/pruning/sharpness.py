"""Take gradients one step uphill, so that tuning ends where the error is flat."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from autoprune.precision import in_float64
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
    vector's length. Pruned weights do not move. Nothing is read from the device.


    References:
        SAM, arXiv 2010.01412, equation 2, in the units of ASAM, arXiv 2102.11600; for pruning SAFE,
        arXiv 2506.06866.
    """
    copies = [part.master.detach().clone() for part in parts]
    squares = []
    for part, gradient, size in zip(parts, gradients, sizes, strict=True):
        part.take(gradient)
        if part.master.grad is not None:
            squares.append(in_float64(part.master.grad.square().sum()) * size**2)
    length = _total(squares).sqrt()
    own = _total([in_float64(_moving(part)) for part in parts]).sqrt()
    for part, size in zip(parts, sizes, strict=True):
        if part.master.grad is not None:
            step = torch.where(length > 0.0, share * own * size**2 / length, 0.0)
            part.master.addcmul_(part.master.grad, step.to(part.master))
        part.publish()
    try:
        yield
    finally:
        for part, copy in zip(parts, copies, strict=True):
            part.master.copy_(copy)
            part.publish()


def _moving(part: Master) -> Tensor:
    """Number of weights that are not pruned."""
    whole = torch.tensor(float(part.master.numel()))
    return whole if part.pruned is None else part.master.numel() - torch.count_nonzero(part.pruned)


def _total(values: Sequence[Tensor]) -> Tensor:
    return sum(values, torch.zeros((), dtype=torch.float64))
