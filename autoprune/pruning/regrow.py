"""Exchange weights during block tuning: drop small ones, regrow those with large gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.masking import NM, keep_counts, keep_matrix
from autoprune.models.structure import PrunableLinear
from autoprune.pruning.masters import Master

# Exchanges per tuning, spread evenly over the first half of its steps.
TIMES = 4


@torch.no_grad()
def exchanged(
    weight: Tensor,
    gradient: Tensor,
    keep: Tensor,
    share: float,
    group: Group = "row",
    pattern: NM | None = None,
) -> Tensor:
    """Exchange a share of the smallest kept weights for as many pruned ones; return the new mask.

    The pruned weights with the largest gradients are regrown. A group exchanges at most as many
    weights as it has pruned weights with a gradient.


    References:
        RigL, arXiv 1911.11134, algorithm 1.
    """
    columns = pattern.of if pattern else keep.shape[1] if group == "row" else keep.numel()
    cells = keep.reshape(-1, columns)
    # A NaN leads to a tuning that is reverted later; do not fail here.
    size = weight.abs().nan_to_num(0.0).reshape(cells.shape)
    pull = gradient.abs().nan_to_num(0.0).reshape(cells.shape).masked_fill(cells, 0.0)
    kept = cells.sum(dim=1)
    if pattern is None:
        leaving = (share * kept).round().long()
    else:
        number = round(share * int(kept.sum()))
        leaving = (~keep_matrix(size.masked_fill(~cells, torch.inf), number)).sum(dim=1)
    leaving = torch.minimum(leaving, (pull > 0.0).sum(dim=1))
    stay = keep_counts(size.masked_fill(~cells, -1.0), kept - leaving)
    return (stay | keep_counts(pull, leaving)).reshape(keep.shape)


class Regrowth:
    """The exchanges of one tuning.

    Gradients are summed between exchanges, since those of a few windows are too noisy.

    Args:
        members: Matrices that are tuned.
        parts: Their masters, possibly among others.
        steps: Number of tuning steps.
        share: See :func:`exchanged`, as for the rest.
        group: Weights that compete with each other.
        pattern: N:M pattern.
    """

    def __init__(
        self,
        members: Sequence[PrunableLinear],
        parts: Sequence[Master],
        steps: int,
        share: float,
        group: Group,
        pattern: NM | None,
    ) -> None:
        self._members = members
        self._number = {id(part.parameter): number for number, part in enumerate(parts)}
        self._parts = parts
        self._share, self._group, self._pattern = share, group, pattern
        self._due = {steps * time // (2 * TIMES) for time in range(1, TIMES + 1)}
        self._sums: dict[int, Tensor] = {}

    @torch.no_grad()
    def see(
        self, step: int, gradients: Sequence[Tensor | None], optimizer: torch.optim.Optimizer
    ) -> None:
        """Take a step's gradients, including those of pruned weights; exchange weights if due.

        Regrown weights start opposite to their gradient, with the mean size of the dropped ones.
        RigL starts them at 0, but a block's few steps would not move them far from there.
        """
        if step > max(self._due):
            return
        for number, gradient in enumerate(gradients):
            if gradient is None or self._parts[number].pruned is None:
                continue
            known = self._sums.get(number)
            self._sums[number] = gradient.float().clone() if known is None else known.add_(gradient)
        if step in self._due:
            for layer in self._members:
                self._exchange(layer, optimizer)
            self._sums.clear()

    def _exchange(self, layer: PrunableLinear, optimizer: torch.optim.Optimizer) -> None:
        number = self._number.get(id(getattr(layer.owner, layer.attribute)))
        if number is None or number not in self._sums:
            return
        part = self._parts[number]
        assert part.pruned is not None
        weight, pruned = layer.orient(part.master), layer.orient(part.pruned)
        gradient = layer.orient(self._sums[number])
        keep = exchanged(weight, gradient, ~pruned, self._share, self._group, self._pattern)
        gone = ~keep & ~pruned
        size = weight[gone].abs().mean()
        moments = optimizer.state[part.master]
        for value in (part.master, *(moments.get(n) for n in ("exp_avg", "exp_avg_sq"))):
            if value is not None:
                layer.orient(value).masked_fill_(gone, 0.0)
        weight.copy_(torch.where(keep & pruned, -size * gradient.sign(), weight))
        pruned.copy_(~keep)
