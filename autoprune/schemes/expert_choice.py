"""Choose which experts of a block to keep, by what each token loses without the others.

The experts' output for a token is ``sum_e w_e E_e(x)``. Without some of them the router gives the
others new weights ``w'``, and the output moves by ``sum_e (w'_e - w_e) E_e(x)``. Its square is a
quadratic form in the products ``E_e . E_f`` of each token, so every expert runs once on every
token, however many subsets are tried (the exact loss of arXiv 2402.14800).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.precision import in_float64
from autoprune.schemes.expert_parts import ExpertPart, routed_among

# Tokens whose expert outputs are in memory at once.
_TOKENS = 256
# Relative rounding error of a sum of products, by bytes per number.
_TOLERANCE = {4: 1e-3, 2: 5e-2}


@dataclass
class Routed:
    """Recorded inputs, routing and outputs of one block's experts.

    Args:
        part: The experts.
        inputs: Inputs of the router and the experts, [t, hidden] each.
        weights: Weights of the experts that each token uses, [t, k] each.
        numbers: Numbers of these experts, int64 [t, k] each.
        outputs: Combined outputs of all experts, [t, hidden] each.
    """

    part: ExpertPart
    inputs: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    numbers: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def note(self, module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        """Record one call, as a forward hook of the experts.

        Raises:
            UnsupportedModelError: If they are not called with inputs, numbers and weights.
        """
        if len(args) != 3 or args[1].shape != args[2].shape or result.shape != args[0].shape:
            raise UnsupportedModelError(
                f"{type(module).__name__} is not called with inputs, numbers and weights of the "
                "experts that a token takes, so that none can go; take another scheme"
            )
        for kept, tensor in zip(
            (self.inputs, self.numbers, self.weights, self.outputs), (*args, result), strict=True
        ):
            kept.append(tensor.detach())

    def counts(self) -> Tensor:
        """Number of tokens that use each expert, float64 [n]."""
        took = torch.cat(self.numbers).flatten().cpu()
        return torch.bincount(took, minlength=self.part.count).double()

    @torch.no_grad()
    def activations(self) -> Tensor:
        """Mean of weight times norm of the output over the tokens of each expert, [n] (REAP)."""
        total = torch.zeros(self.part.count, dtype=torch.float64)
        for x, numbers, weights in zip(self.inputs, self.numbers, self.weights, strict=True):
            for expert in sorted(set(numbers.flatten().tolist())):
                rows, places = torch.where(numbers == expert)
                norms = in_float64(_given(self.part, expert, x[rows])).norm(dim=-1)
                total[expert] += (in_float64(weights[rows, places]) * norms).sum().cpu()
        return total / self.counts().clamp_min(1.0)


class Losses:
    """Squared change of a block's expert outputs over all tokens, by the experts that stay.

    Raises:
        UnsupportedModelError: If the experts' output is not the weighted sum of the
            individual outputs.
    """

    def __init__(self, routed: Routed) -> None:
        self.part = routed.part
        self.chunks: list[tuple[Tensor, Tensor, Tensor]] = []
        self.whole = 0.0
        columns = zip(
            *(
                [piece for batch in batches for piece in torch.split(batch, _TOKENS)]
                for batches in (routed.inputs, routed.numbers, routed.weights, routed.outputs)
            ),
            strict=True,
        )
        with torch.no_grad():
            for x, numbers, weights, output in columns:
                each = torch.stack([_given(self.part, e, x) for e in range(self.part.count)], 1)
                dense = self._spread(numbers, weights)
                _require_sum(torch.einsum("tn,tnh->th", dense.to(each), each), output, self.part)
                double = in_float64(each)
                products = double @ double.mT
                self.chunks.append((x, dense, products))
                self.whole += _form(dense, products)

    def of(self, kept: Sequence[int]) -> float:
        """Loss with only these experts."""
        total = 0.0
        with torch.no_grad(), routed_among(self.part, kept):
            for x, dense, products in self.chunks:
                _, weights, numbers = self.part.router(x)[:3]
                total += _form(self._spread(numbers, weights) - dense, products)
        return total

    def _spread(self, numbers: Tensor, weights: Tensor) -> Tensor:
        whole = torch.zeros(len(numbers), self.part.count, dtype=torch.float64)
        given = in_float64(weights)
        return whole.to(given.device).scatter_(1, numbers.to(given.device), given)


def subsets(part: ExpertPart, kept: int) -> Iterator[tuple[int, ...]]:
    """All choices of ``kept`` experts, equally many from each group."""
    size, each = part.count // part.groups, kept // part.groups
    groups = [range(start, start + size) for start in range(0, part.count, size)]
    for chosen in itertools.product(*(itertools.combinations(g, each) for g in groups)):
        yield tuple(itertools.chain.from_iterable(chosen))


def subset_count(part: ExpertPart, kept: int) -> int:
    """How many :func:`subsets` there are."""
    of_one = math.comb(part.count // part.groups, kept // part.groups)
    return math.prod([of_one] * part.groups)


def best_of_all(losses: Losses, kept: int) -> tuple[int, ...]:
    """The choice that loses least; the first one on ties."""
    return min(subsets(losses.part, kept), key=losses.of)


def greedy(losses: Losses, kept: int) -> tuple[int, ...]:
    """Remove one expert at a time, always the one whose removal loses least."""
    left = list(range(losses.part.count))
    while len(left) > kept:
        left.remove(min(left, key=lambda e: losses.of([other for other in left if other != e])))
    return tuple(left)


def highest(part: ExpertPart, scores: Tensor, kept: int) -> tuple[int, ...]:
    """The experts with the highest scores in each group, ascending; the first ones on ties."""
    by_group = scores.reshape(part.groups, -1)
    order = by_group.argsort(dim=1, descending=True, stable=True)[:, : kept // part.groups]
    starts = torch.arange(part.groups)[:, None] * by_group.shape[1]
    return tuple((order + starts).flatten().sort().values.tolist())


def _given(part: ExpertPart, expert: int, x: Tensor) -> Tensor:
    """Output of one expert with a weight of 1, [t, hidden]."""
    number = torch.full((len(x), 1), expert, device=x.device)
    given: Tensor = part.experts(x, number, torch.ones(len(x), 1, dtype=x.dtype, device=x.device))
    return given


def _form(change: Tensor, products: Tensor) -> float:
    """``sum_t d_t' G_t d_t``."""
    return float((change * (products @ change[:, :, None])[:, :, 0]).sum())


def _require_sum(made: Tensor, output: Tensor, part: ExpertPart) -> None:
    allowed = _TOLERANCE.get(output.element_size(), 1e-3) * float(output.abs().max() + 1e-6)
    if float((made.to(output) - output).abs().max()) > allowed:
        raise UnsupportedModelError(
            f"what {type(part.experts).__name__} gives is not the weighted sum of its experts, so "
            "that their loss is unknown; take criterion=reap, frequency or random"
        )
