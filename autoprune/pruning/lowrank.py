"""Train a masked low-rank update of a matrix instead of its weights."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from autoprune.pruning.masters import Master


@dataclass(frozen=True)
class LowRank(Master):
    """A parameter that changes only by ``M * (B A)``, merged into it after every step.

    Its gradient is propagated to both factors here, so no module has to change.

    Args:
        master: The weights that the update is added to, float32; unchanged.
        down: A, [..., r, i], in the parameter's layout.
        up: B, [..., o, r]; initially 0.

    References:
        MaskLoRA of PERP, arXiv 2312.15230; LoRA, arXiv 2106.09685.
    """

    down: Tensor = field(kw_only=True)
    up: Tensor = field(kw_only=True)

    @classmethod
    def for_matrix(cls, part: Master, rank: int, generator: torch.Generator) -> Self:
        """Build an update of the same parameter with the same mask."""
        value = part.parameter.detach()
        *experts, rows, columns = value.shape
        drawn = torch.randn(*experts, rank, columns, generator=generator) / columns**0.5
        up = torch.zeros(*experts, rows, rank, device=value.device)
        # A master of another type is a copy already.
        base = value.clone() if value.dtype == torch.float32 else part.master
        return cls(part.parameter, base, part.pruned, down=drawn.to(value.device), up=up)

    @property
    def trained(self) -> list[Tensor]:
        """Both factors."""
        return [self.down, self.up]

    def take(self, gradient: Tensor | None) -> None:
        """Give the factors their gradients; see :meth:`Master.take`."""
        super().take(gradient)
        whole, self.master.grad = self.master.grad, None
        self.up.grad = None if whole is None else whole @ self.down.mT
        self.down.grad = None if whole is None else self.up.mT @ whole

    def publish(self) -> None:
        """Write base and update into the parameter; pruned weights stay bit-identical."""
        update = self.up @ self.down
        if self.pruned is not None:
            update.masked_fill_(self.pruned, 0.0)
        self.parameter.detach().copy_(update.add_(self.master))
