"""How many zeros a program owes, and the recount of what it gave back."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from autoprune.candidate import CandidateRejectedError
from autoprune.masking.pattern import NM
from autoprune.masking.quotas import row_quotas

# A miss of at most one weight in so many is put right and noted.
ALLOWED = 1000


@dataclass(frozen=True)
class LayerBudget:
    """Zeros of one layer.

    Args:
        group: ``row``: each row has its own number; ``matrix``: the layer has one.
        zeros: Zeros of the layer.
        pattern: N:M pattern, whose groups take the place of ``group``.
    """

    group: Literal["row", "matrix"]
    zeros: int
    pattern: NM | None = None

    def to_json(self) -> dict[str, Any]:
        """What a program is handed: ``group``, ``zeros`` and, for N:M, ``n`` and ``m``."""
        if self.pattern is not None:
            numbers = {"n": self.pattern.zeros, "m": self.pattern.of}
            return {"group": "n:m", "zeros": self.zeros, **numbers}
        return {"group": self.group, "zeros": self.zeros}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "LayerBudget":
        """Inverse of :meth:`to_json`."""
        if value["group"] == "n:m":
            return cls("row", value["zeros"], NM(value["n"], value["m"]))
        return cls(value["group"], value["zeros"])

    def grouped(self, value: Tensor) -> Tensor:
        """A tensor [o, i] with one comparison group in each row, [g, c]."""
        if self.pattern is not None:
            return value.reshape(-1, self.pattern.of)
        return value.reshape(1, -1) if self.group == "matrix" else value

    def quotas(self, shape: tuple[int, int]) -> Tensor:
        """Zeros of every comparison group, int64 [g]."""
        rows, columns = shape
        if self.pattern is not None:
            return torch.full((rows * columns // self.pattern.of,), self.pattern.zeros)
        if self.group == "matrix":
            return torch.tensor([self.zeros])
        base, longer = row_quotas(self.zeros, rows, columns)
        return (torch.arange(rows) < longer).long() + base


@dataclass(frozen=True)
class Settled:
    """New weights that keep the budget to the weight.

    Args:
        weight: float32 [o, i], exactly +0 where ``keep`` is False.
        keep: bool [o, i].
        projected: Weights that had to be zeroed, or put back as they were.
    """

    weight: Tensor
    keep: Tensor
    projected: int


def settle(
    made: Tensor, dense: Tensor, budget: LayerBudget, saved: torch.dtype, name: str = "layer"
) -> Settled:
    """Check what a program gave back, recount its zeros by group, and put a small miss right.

    In a group with too few zeros the smallest of the program's own weights go; in one with too many
    the largest dense weights come back. Weights that were zero in the dense layer count as kept
    zeros where a group has more zeros than it owes.

    Args:
        made: What came back.
        dense: The layer before, float32 [o, i].
        budget: What it owes.
        saved: Type that the weights will be kept in; what rounds to zero there is a zero.
        name: The layer, for messages.

    Raises:
        CandidateRejectedError: ``wrong_shape``, ``wrong_dtype``, ``nan_weights``, or
            ``wrong_budget`` when more than one weight in a thousand is on the wrong side.
    """
    if tuple(made.shape) != tuple(dense.shape):
        shapes = f"{list(made.shape)} for a weight of shape {list(dense.shape)}"
        raise CandidateRejectedError("wrong_shape", f"{name}: new weights of shape {shapes}")
    if made.dtype is not torch.float32:
        detail = f"{name}: new weights of type {made.dtype}; return torch.float32"
        raise CandidateRejectedError("wrong_dtype", detail)
    made = made.detach().contiguous()
    stored = made.to(saved).float()
    if not bool(torch.isfinite(stored).all()):
        bad = int((~torch.isfinite(stored)).sum())
        raise CandidateRejectedError(
            "nan_weights",
            f"{name}: {bad} of {made.numel()} new weights are NaN, infinite or too large for "
            f"{str(saved).removeprefix('torch.')}",
        )
    zero, before = budget.grouped(stored == 0), budget.grouped(dense)
    quotas = budget.quotas((made.shape[0], made.shape[1]))
    excess = zero.sum(dim=1) - quotas
    put_back = (excess - (zero & (before == 0)).sum(dim=1)).clamp_min(0)
    missed = int((-excess).clamp_min(0).sum() + put_back.sum())
    if missed > made.numel() // ALLOWED:
        raise _wrong_budget(name, missed, zero, excess, budget)
    keep = ~zero
    weight = budget.grouped(made.clone())
    for group in torch.split(excess.nonzero().squeeze(1), 4096):
        own, old, gone = weight[group], before[group], zero[group]
        order = _order_of_going(own, old, gone).argsort(dim=1, stable=True).argsort(dim=1)
        kept = order >= quotas[group].unsqueeze(1)
        keep[group] = kept
        weight[group] = torch.where(kept & gone, old, own)
    weight = torch.where(keep, weight, 0.0)
    return Settled(weight.reshape(made.shape), keep.reshape(made.shape), missed)


def _order_of_going(own: Tensor, old: Tensor, gone: Tensor) -> Tensor:
    """What goes first has the lowest number, [g, c].

    First the program's zeros, the smallest dense weights of them first; then those that were zero
    before, which may as well stay; then the program's own weights by size.
    """
    old, own = old.abs().double(), own.abs().double()
    least = old / old.amax(dim=1, keepdim=True).clamp_min(1e-300)
    zeros = torch.where(old == 0, 2.0, least)
    return torch.where(gone, zeros, 3.0 + own / own.amax(dim=1, keepdim=True).clamp_min(1e-300))


def _wrong_budget(
    name: str, missed: int, zero: Tensor, excess: Tensor, budget: LayerBudget
) -> CandidateRejectedError:
    wrong = int((excess != 0).sum())
    first = int((excess != 0).nonzero()[0])
    found, wanted = int(zero[first].sum()), int(zero[first].sum() - excess[first])
    kind = f"group of {budget.pattern}" if budget.pattern is not None else budget.group
    return CandidateRejectedError(
        "wrong_budget",
        f"{name}: {missed} of {zero.numel()} weights are on the wrong side of the budget, "
        f"{zero.numel() // ALLOWED} may be: {wrong} of {len(excess)} groups miss it, {kind} "
        f"{first} has {found} zeros and owes {wanted}; choose with topk(scores, budget)",
    )
