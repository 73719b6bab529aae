"""Tune a pruned block's kept weights to reproduce the output of the dense block."""

from collections.abc import Callable, Iterable, MutableMapping, MutableSequence, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.masking import NM
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear
from autoprune.pruning.halves import Halves
from autoprune.pruning.masters import (
    Master,
    gradients_of,
    masks_of,
    masters_of,
    vectors_of,
)
from autoprune.pruning.plan import Precision
from autoprune.pruning.products import products_of
from autoprune.pruning.regrow import Regrowth
from autoprune.pruning.sharpness import uphill
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

    Attributes:
        middle: If halves are tuned, the targets between the halves of the most recent block; empty
            otherwise.

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
        self.middle: list[Tensor] = []

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
        if self.how.halves:
            half = Halves.of_next(self._stream)
            self.middle = [self._middle(half, n) for n in range(len(self._stream.hidden))]
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

    def _middle(self, half: Halves, number: int) -> Tensor:
        if self.how.anchor == 0.0:
            return half.middle(number)
        far = half.middle(number, self._dense[number])
        if self.how.anchor == 1.0:
            return far
        return torch.lerp(half.middle(number), far, self.how.anchor)


@dataclass(frozen=True)
class Descent:
    """Parameters tuned together, with their objective.

    Args:
        parts: Masters of the parameters to tune.
        give: Computes the block's state at some point for a batch, by its number.
        goals: Target states at that point.
    """

    parts: Sequence[Master]
    give: Callable[[int], Tensor]
    goals: Sequence[Tensor]


def tune_block(
    stream: BlockStream,
    members: Sequence[PrunableLinear],
    keep: MutableMapping[str, Tensor] | None,
    goals: Sequence[Tensor],
    how: BlockTuning,
    seed: int = 0,
    precision: Precision = "auto",
    *,
    middle: Sequence[Tensor] = (),
    group: Group = "row",
    pattern: NM | None = None,
) -> list[str]:
    """Tune the next block's kept weights in place, and optionally its norms and biases.

    Adam minimises the mean over tokens of ``||y' - y||^2 / ||y||^2``, where y is the block's target
    and y' its output on the pruned model's inputs. The next block normalises every token, so each
    counts by its relative error. Products are in bfloat16 if the machine supports it and
    ``precision`` allows it; weights and steps are float32. If the error on eight batches has not
    fallen at the end, the block is left as it was.


    References:
        EBFT, arXiv 2402.12419, equation 2; the relative error is ours.
    """
    parts = masters_of(members, keep)
    if how.norms:
        block = stream.blocks[stream.position]
        parts += [Master.of(vector) for vector in vectors_of(block).values()]
    before = _error(stream, goals, precision)
    copies = [part.parameter.detach().clone() for part in parts]
    steps = how.epochs * len(goals)
    for descent in _descents(stream, parts, goals, middle):
        regrowth = None
        if how.regrow:
            own = descent.parts
            regrowth = Regrowth(members, own, steps, how.regrow, group, pattern)
        with gradients_of(descent.parts):
            _descend(descent, how, seed, partial(_products, stream, precision), regrowth)
    # NaN fails every comparison, so test for success.
    if _error(stream, goals, precision) < before:
        if keep is not None and how.regrow:
            keep.update(masks_of(members, parts))
        return []
    for part, copy in zip(parts, copies, strict=True):
        part.parameter.detach().copy_(copy)
    return [f"block {stream.position}: tuning did not lower its error; left as it was"]


def _descents(
    stream: BlockStream,
    parts: Sequence[Master],
    goals: Sequence[Tensor],
    middle: Sequence[Tensor],
) -> list[Descent]:
    """The block as a whole, or its halves in execution order."""
    if not middle:
        return [Descent(parts, stream.output, goals)]
    half = Halves.of_next(stream)
    first = [part for part in parts if id(part.parameter) in half.first]
    second = [part for part in parts if id(part.parameter) not in half.first]
    both = Descent(first, half.middle, middle), Descent(second, stream.output, goals)
    return [descent for descent in both if descent.parts]


def _descend(
    descent: Descent,
    how: BlockTuning,
    seed: int,
    products: Products,
    regrowth: Regrowth | None,
) -> None:
    parts, goals = descent.parts, descent.goals
    sizes = _sizes(parts)
    first = [how.rate * size for size in sizes]
    groups: list[dict[str, Any]] = [
        {"params": [part.master], "lr": rate} for part, rate in zip(parts, first, strict=True)
    ]
    # Fused: one pass over weight, gradient and both moments instead of one per operation.
    optimizer = torch.optim.Adam(groups, betas=BETAS, fused=True)
    generator = torch.Generator().manual_seed(seed)
    steps = how.epochs * len(goals)
    for step in range(steps):
        if step % len(goals) == 0 and (step == 0 or how.order == "reshuffled"):
            shuffled = torch.randperm(len(goals), generator=generator).tolist()
        number = shuffled[step % len(goals)]
        for group, rate in zip(optimizer.param_groups, first, strict=True):
            group["lr"] = rate * (1.0 - step / steps)
        gradients = _slope(descent, number, products)
        if how.sharpness:
            with uphill(parts, gradients, sizes, how.sharpness):
                gradients = _slope(descent, number, products)
        if regrowth is not None:
            regrowth.see(step, gradients, optimizer)
        for part, gradient in zip(parts, gradients, strict=True):
            part.take(gradient)
        optimizer.step()
        for part in parts:
            part.publish()


def _slope(descent: Descent, number: int, products: Products) -> tuple[Tensor | None, ...]:
    """Gradients of the error on one batch; None for an expert that none of its tokens reached."""
    wanted = [part.parameter for part in descent.parts]
    scale = loss_scale(wanted[0].dtype)
    with torch.enable_grad(), products():
        loss = relative_error(descent.give(number), descent.goals[number]) * scale
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return tuple(unscaled(one, scale) for one in found)


def _sizes(parts: Sequence[Master]) -> list[float]:
    """Root mean square of the kept weights of each part, used as the unit of its steps.

    Norms and biases that are all zero use the mean over the matrices instead.
    """
    found = []
    for part in parts:
        kept = part.master if part.pruned is None else part.master[~part.pruned]
        found.append(float(kept.square().mean().sqrt()) if kept.numel() else 0.0)
    own = [size for size, part in zip(found, parts, strict=True) if part.master.ndim > 1]
    usual = sum(own) / max(len(own), 1)
    pairs = zip(found, parts, strict=True)
    return [size or (usual if part.master.ndim == 1 else 0.0) for size, part in pairs]


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
