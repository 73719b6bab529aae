"""Tune a pruned block's kept weights to reproduce the output of the dense block."""

from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear
from autoprune.pruning.masters import (
    Master,
    gradients_of,
    masters_of,
)
from autoprune.pruning.plan import Precision
from autoprune.pruning.products import products_of
from autoprune.repair import BlockTuning
from autoprune.statistics.gradients import loss_scale, unscaled

# Short averaging, since a block takes a few hundred steps at most.
BETAS = (0.9, 0.95)
# Batches used to check that the error fell; using all would cost two more passes of the model.
WITNESSES = 8

Products = Callable[[], AbstractContextManager[Any]]
# Returns the storage for hidden states named ``dense`` or ``goals``.
Room = Callable[[str], MutableSequence[Tensor]]


def windows_per_batch(windows: Tensor, batch_tokens: int, tuning: BlockTuning | None) -> int:
    """Windows per forward pass of a block: as many as per tuning step if the block is tuned."""
    return tuning.batch if tuning else max(1, batch_tokens // windows.shape[1])


class BlockGoals:
    """The target outputs of each block, block after block.

    A mean, weighted by ``BlockTuning.anchor``, of the dense block's outputs on the inputs of the
    pruned model and on those of the dense model; the latter are carried along here.

    Args:
        stream: Hidden states before the first block.
        how: The tuning, which sets the weights of the mean.
        room: Where states are kept, lists in memory by default; states already in ``dense`` are
            those of the dense model before the next block.

    References:
        The first is from EBFT, arXiv 2402.12419; the second is asymmetric reconstruction, AdaRound,
        arXiv 2004.10568, section 4.3; their mean is ours.
    """

    def __init__(self, stream: BlockStream, how: BlockTuning, room: Room = lambda _: []) -> None:
        self.how = how
        self._stream = stream
        self._goals = room("goals")
        self._dense = room("dense")
        if how.anchor > 0.0 and not self._dense:
            self._dense.extend(stream.hidden)

    @torch.no_grad()
    def see(self, numbers: Iterable[int]) -> None:
        """Run the next block, still dense, on batches of the pruned model's inputs."""
        for number in numbers:
            near = self._stream.output(number)
            if number < len(self._goals):
                self._goals[number] = near
            else:
                self._goals.append(near)

    @torch.no_grad()
    def of_next(self, *, seen: bool = False) -> MutableSequence[Tensor]:
        """Targets of the next block, ``[b, s, d]`` per batch; the block must still be dense.

        Must be called once for every block, even if nothing is pruned there; overwrites earlier
        targets.
        """
        anchor = self.how.anchor
        if anchor < 1.0 and not seen:
            self.see(range(len(self._stream.hidden)))
        if anchor == 0.0:
            return self._goals
        for number, hidden in enumerate(self._dense):
            self._dense[number] = self._stream.output(number, hidden)
        if anchor == 1.0:
            return self._dense
        for number, far in enumerate(self._dense):
            self._goals[number] = torch.lerp(self._goals[number], far, anchor)
        return self._goals


def tune_block(
    stream: BlockStream,
    members: Sequence[PrunableLinear],
    keep: Mapping[str, Tensor] | None,
    goals: Sequence[Tensor],
    how: BlockTuning,
    seed: int = 0,
    precision: Precision = "auto",
) -> list[str]:
    """Tune the next block's kept weights in place.

    Adam minimises the mean over tokens of ``||y' - y||^2 / ||y||^2``, where y is the block's target
    and y' its output on the pruned model's inputs. The next block normalises every token, so each
    counts by its relative error. Products are in bfloat16 if the machine supports it and
    ``precision`` allows it; weights and steps are float32. If the error on eight batches has not
    fallen at the end, the block is left as it was.

    References:
        EBFT, arXiv 2402.12419, equation 2; the relative error is ours.
    """
    parts = masters_of(members, keep)
    before = _error(stream, goals, precision)
    copies = [part.parameter.detach().clone() for part in parts]
    with gradients_of(parts):
        _descend(stream, parts, goals, how, seed, partial(_products, stream, precision))
    # NaN fails every comparison, so test for success.
    if _error(stream, goals, precision) < before:
        return []
    for part, copy in zip(parts, copies, strict=True):
        part.parameter.detach().copy_(copy)
    return [f"block {stream.position}: tuning did not lower its error; left as it was"]


def _descend(
    stream: BlockStream,
    parts: Sequence[Master],
    goals: Sequence[Tensor],
    how: BlockTuning,
    seed: int,
    products: Products,
) -> None:
    first = [how.rate * size for size in _sizes(parts)]
    groups: list[dict[str, Any]] = [
        {"params": [part.master], "lr": rate} for part, rate in zip(parts, first, strict=True)
    ]
    # Fused: one pass over weight, gradient and both moments instead of one per operation.
    optimizer = torch.optim.Adam(groups, betas=BETAS, fused=True)
    generator = torch.Generator().manual_seed(seed)
    steps = how.epochs * len(goals)
    for step in range(steps):
        if step % len(goals) == 0:
            shuffled = torch.randperm(len(goals), generator=generator).tolist()
        number = shuffled[step % len(goals)]
        for group, rate in zip(optimizer.param_groups, first, strict=True):
            group["lr"] = rate * (1.0 - step / steps)
        gradients = _slope(stream, parts, goals, number, products)
        for part, gradient in zip(parts, gradients, strict=True):
            part.take(gradient)
        optimizer.step()
        for part in parts:
            part.publish()


def _slope(
    stream: BlockStream,
    parts: Sequence[Master],
    goals: Sequence[Tensor],
    number: int,
    products: Products,
) -> tuple[Tensor | None, ...]:
    """Gradients of the error on one batch; None for an expert that none of its tokens reached."""
    wanted = [part.parameter for part in parts]
    scale = loss_scale(wanted[0].dtype)
    with torch.enable_grad(), products():
        loss = relative_error(stream.output(number), goals[number]) * scale
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return tuple(unscaled(one, scale) for one in found)


def _sizes(parts: Sequence[Master]) -> list[float]:
    """Root mean square of the kept weights of each part, used as the unit of its steps."""
    found = []
    for part in parts:
        kept = part.master if part.pruned is None else part.master[~part.pruned]
        found.append(float(kept.square().mean().sqrt()) if kept.numel() else 0.0)
    return found


@torch.no_grad()
def _error(stream: BlockStream, goals: Sequence[Tensor], precision: Precision = "auto") -> float:
    numbers = range(0, len(goals), -(-len(goals) // WITNESSES))
    with _products(stream, precision):
        errors = [float(relative_error(stream.output(n), goals[n])) for n in numbers]
    return sum(errors) / len(errors)


def relative_error(output: Tensor, goal: Tensor) -> Tensor:
    """Mean over tokens of ``||y' - y||^2 / ||y||^2``: y' [b, s, d], y [b, s, d] -> a number."""
    goal = goal.float()
    size = goal.square().sum(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return ((output.float() - goal).square().sum(dim=-1) / size).mean()


def _products(stream: BlockStream, precision: Precision) -> AbstractContextManager[Any]:
    first = stream.hidden[0]
    return products_of(first.device, first.dtype, precision)
