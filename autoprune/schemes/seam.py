"""Patch the seams that removed blocks leave: one linear map each, in closed form.

The block before a seam ends in a matrix whose output is added to its hidden state. That output,
``m``, is replaced by ``m T`` to bring the hidden state close to the removed blocks' output in the
dense model; ``T`` is folded into the matrix and costs nothing (ReplaceMe, arXiv 2505.02819). Tokens
are weighted by the inverse mean square of the target, as in the next norm, so that the few with
huge activations do not dominate. The ridge that holds ``T`` near 1 is chosen on windows held out
from the fit.

``T`` is any matrix, or, with ``scale``, one number for each channel of a rotated space in which
channels with huge activations are spread over all (after LinearPatch, arXiv 2505.24680, which
applies it to the whole hidden state and takes ratios of means).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.spread import spread

Form = Literal["linear", "scale"]
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# A change of the matrix's output must appear in the block's output unaltered, up to rounding:
# tolerance relative to the summands, for four and two bytes per number.
_TOLERANCE = {4: 1e-3, 2: 5e-2}
_BATCH = 4


@dataclass
class Patches:
    """New values of parameters by name, and what could not be patched.

    Args:
        weights: By name, in the parameters' shapes.
        notes: A sentence for each seam that stays open.
        errors: Weighted error at each seam on held-out windows, relative to that of the open seam,
            by the number of the block before it.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: dict[int, float] = field(default_factory=dict)


@torch.no_grad()
def patch_seams(
    model: PreTrainedModel,
    windows: Tensor,
    removed: Sequence[int],
    *,
    form: Form = "linear",
    report: Report = silent,
) -> Patches:
    """Fit the map of each seam, from the front; each sees the earlier seams patched.

    Args:
        model: Dense, in eval mode; left unchanged.
        windows: Calibration token ids, int64 [n, s], at least two.
        removed: Numbers of the blocks to remove.
        form: Which maps are fitted: any, or a scale for each channel of a rotated space.
        report: Callback, called after each block.
    """
    if len(windows) < 2:
        return Patches(notes=["a single window leaves none to choose a ridge on: seams stay open"])
    batch = max(1, min(_BATCH, len(windows) // 4))
    stream = BlockStream(model, windows, batch=batch)
    linears = prunable_linears(model)
    patches = Patches()
    gone = set(removed)
    count = len(stream.blocks)
    # Hidden states of the model without the removed blocks at this place.
    smaller = list(stream.hidden)
    seam: _Seam | None = None
    if 0 in gone:
        patches.notes.append("no block stands before the first seam, so that one stays open")
    for number in range(count):
        if number not in gone:
            if number + 1 in gone:
                seam = _Seam.before(stream, [x for x in linears if x.block == number], smaller)
                if seam is None:
                    patches.notes.append(
                        f"no matrix's output is added to the hidden state as it is at the end of "
                        f"block {number}, so the seam behind it stays open"
                    )
            with seam.recording() if seam is not None and seam.number == number else nullcontext():
                smaller = [stream.output(n, hidden) for n, hidden in enumerate(smaller)]
        stream.advance()
        if number in gone and number + 1 not in gone and seam is not None:
            smaller = seam.close(stream.hidden, smaller, patches, form)
            seam = None
        report(Progress("seams", number + 1, count))
    return patches


class _Seam:
    """The end of a block, and the outputs of its last matrix."""

    def __init__(self, number: int, linear: PrunableLinear) -> None:
        self.number = number
        self.linear = linear
        self.outputs: list[Tensor] = []

    @classmethod
    def before(
        cls, stream: BlockStream, members: Sequence[PrunableLinear], hidden: Sequence[Tensor]
    ) -> "_Seam | None":
        """Find the last matrix of the next block, if its output is added unaltered."""
        order: list[PrunableLinear] = []
        plain = [linear for linear in members if linear.expert is None]
        with ExitStack() as stack:
            for linear in plain:
                stack.enter_context(_hooked(linear.owner, _noting(order, linear)))
            before = stream.output(0, hidden[0])
        if not order or order[-1].shape[0] != before.shape[-1]:
            return None
        last = order[-1]
        generator = torch.Generator().manual_seed(0)
        change = torch.randn(before.shape, generator=generator).to(before) * before.std()
        with _hooked(last.owner, lambda _, __, result: result + change.reshape(result.shape)):
            after = stream.output(0, hidden[0])
        allowed = before.abs() + change.abs() + before.std()
        allowed *= _TOLERANCE.get(before.element_size(), 1e-3)
        if not bool(((after - before - change).abs() <= allowed).all()):
            return None
        return cls(stream.position, last)

    def recording(self) -> Any:
        def record(_: nn.Module, __: Any, result: Tensor) -> None:
            # A copy: some families, such as falcon, add attention to it in place afterwards.
            self.outputs.append(result.clone())

        return _hooked(self.linear.owner, record)

    def close(
        self,
        targets: Sequence[Tensor],
        open_seam: Sequence[Tensor],
        patches: Patches,
        form: Form,
    ) -> list[Tensor]:
        """Fit the map and fold it; return the hidden states after the patched seam."""
        # Some families flatten windows on the way.
        outputs = [m.reshape(h.shape) for m, h in zip(self.outputs, open_seam, strict=True)]
        triples = zip(outputs, open_seam, targets, strict=True)
        change, left = _fit((_Sums.of(*triple) for triple in triples), len(outputs), form)
        patches.errors[self.number] = left
        if change is None:
            patches.notes.append(f"behind block {self.number} no map fits better than none")
            return list(open_seam)
        turn = torch.eye(len(change), dtype=torch.float64, device=change.device) + change
        weight = in_float64(self.linear.read())
        stored: nn.Parameter = getattr(self.linear.owner, self.linear.attribute)
        new = stored.detach().clone()
        self.linear.orient(new).copy_(turn.T @ weight)
        patches.weights[self.linear.parameter] = new
        bias = getattr(self.linear.owner, "bias", None)
        if bias is not None:
            name = self.linear.parameter.removesuffix(self.linear.attribute) + "bias"
            patches.weights[name] = (turn.T @ in_float64(bias.detach())).to(bias)
        return [
            hidden + (in_float64(output) @ change).to(hidden)
            for hidden, output in zip(open_seam, outputs, strict=True)
        ]


@dataclass
class _Sums:
    """Weighted products over tokens: of outputs ``m``, and of ``m`` with the missing part."""

    gram: Tensor
    cross: Tensor
    missing: float

    @classmethod
    def of(cls, output: Tensor, hidden: Tensor, target: Tensor) -> "_Sums":
        output, hidden, target = in_float64(output), in_float64(hidden), in_float64(target)
        scale = target.square().mean(-1, keepdim=True).clamp_min(1e-12).rsqrt()
        m = (output * scale).flatten(0, -2)
        missing = ((target - hidden) * scale).flatten(0, -2)
        return cls(m.T @ m, m.T @ missing, float(missing.square().sum()))

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.gram + other.gram, self.cross + other.cross, self.missing + other.missing)

    def solve(self, ridge: float) -> Tensor:
        """The best change of the map from 1, with a ridge in units of the mean diagonal."""
        scale = self.gram.diagonal().mean() * ridge
        identity = torch.eye(len(self.gram), dtype=torch.float64, device=self.gram.device)
        solved: Tensor = torch.linalg.solve(self.gram + scale * identity, self.cross)
        return solved

    def solve_scales(self, ridge: float) -> Tensor:
        """As :meth:`solve`, of the maps that are diagonal in the rotated space of :func:`spread`.

        There, one channel's scale does not depend on another's: each is a quotient.
        """
        basis = spread(len(self.gram)).to(self.gram)
        own = (basis * (self.gram @ basis)).sum(0) + self.gram.diagonal().mean() * ridge
        return (basis * ((basis * (self.cross @ basis)).sum(0) / own)) @ basis.T

    def error(self, change: Tensor) -> float:
        """Weighted squared error left with this change."""
        return float((change * (self.gram @ change - 2 * self.cross)).sum()) + self.missing


def _fit(parts: Iterable[_Sums], count: int, form: Form) -> tuple[Tensor | None, float]:
    """The best change, or None if an open seam is better; the error left on held-out windows.

    Of the ``count`` parts, each of two matrices, only totals are held: of all, of the first three
    quarters and of the rest.
    """
    held = max(1, count // 4)
    totals: list[_Sums | None] = [None, None, None]
    for number, part in enumerate(parts):
        for place in (0, 1 if number < count - held else 2):
            known = totals[place]
            totals[place] = part if known is None else known + part
    whole, fitted, unseen = totals
    assert whole is not None and fitted is not None and unseen is not None
    if whole.missing == 0.0 or not bool(whole.gram.diagonal().sum() > 0):
        return None, 1.0
    solve = _Sums.solve if form == "linear" else _Sums.solve_scales
    errors = [unseen.error(solve(fitted, ridge)) for ridge in RIDGES]
    best = min(range(len(RIDGES)), key=errors.__getitem__)
    left = errors[best] / unseen.missing if unseen.missing else 1.0
    return (solve(whole, RIDGES[best]), left) if left < 1.0 else (None, 1.0)


def _noting(order: list[PrunableLinear], linear: PrunableLinear) -> Any:
    return lambda _, __, ___: order.append(linear)


@contextmanager
def _hooked(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
