"""Hooks that feed the inputs of a block's prunable matrices to accumulators.

Matrices that read the same tensor (q, k and v; gate and up) share one accumulator, found by the
identity of the tensor, not by name. Fused experts never call ``nn.Linear``: their forward runs
eagerly under a torch function mode that observes which expert's slice multiplies which tokens.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from autoprune.errors import AutopruneError
from autoprune.models.capture import EnoughSeenError
from autoprune.models.structure import PrunableLinear
from autoprune.statistics.accumulator import DAMPING, InputAccumulator

_Key = tuple[int, int, int, int]
_PRODUCTS = {
    nn.functional.linear,
    torch.matmul,
    torch.mm,
    torch.bmm,
    Tensor.matmul,
    Tensor.__matmul__,
    Tensor.mm,
    Tensor.bmm,
}


class BlockRecorder:
    """Records the inputs of the matrices of one block while the block runs.

    Use as a context manager around the block's forward passes, then read :meth:`results`.

    Args:
        block: The block.
        linears: Its prunable matrices.
        needs: Names of the statistics wanted.
        inputs_only: Whether the block's output is not needed; then a pass ends, by
            :class:`EnoughSeenError`, at the matrix whose input is recorded last. Its product and
            what follows are a quarter of a llama block's work.
    """

    def __init__(
        self,
        block: nn.Module,
        linears: Sequence[PrunableLinear],
        needs: Collection[str],
        *,
        inputs_only: bool = False,
    ) -> None:
        self._block = block
        self._linears = linears
        self._needs = needs
        self._accumulators: dict[str, InputAccumulator] = {}
        self._leader: dict[str, str] = {}
        self._inputs: dict[_Key, tuple[Tensor, str]] = {}
        self._silent_experts: set[str] = set()
        self._results: dict[str, dict[str, Tensor]] | None = None
        self._raised: dict[str, str] = {}
        self._inputs_only = inputs_only
        self._order: list[str] = []
        self._last: str | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "BlockRecorder":
        fused: dict[int, tuple[nn.Module, list[PrunableLinear]]] = {}
        for linear in self._linears:
            if linear.expert is not None:
                fused.setdefault(id(linear.owner), (linear.owner, []))[1].append(linear)
                continue
            handle = linear.owner.register_forward_pre_hook(self._hook(linear), with_kwargs=True)
            self._stack.callback(handle.remove)
        for owner, members in fused.values():
            self._stack.enter_context(self._watch_experts(owner, members))
        # Keep references while the block runs, so that no address is reused.
        handle = self._block.register_forward_hook(self._end_pass)
        self._stack.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._inputs.clear()

    def results(self) -> dict[str, dict[str, Tensor]]:
        """Statistics by matrix name; matrices with a common input share their tensors.

        Computed once, after all passes; the underlying sums are then released. An expert that no
        token reached gets the pooled statistics of its block's reached experts or, if there are
        none, statistics that treat all features alike. :attr:`notes` reports this.
        """
        if self._results is not None:
            return self._results
        if self._silent_experts:
            raise AutopruneError(
                f"the inputs of {', '.join(sorted(self._silent_experts))} could not be followed: "
                "its forward multiplies by something else than slices of its weight; this family "
                "of experts is not supported"
            )
        shared = {name: self._result(name, acc) for name, acc in self._accumulators.items()}
        stand_ins: dict[str, dict[str, Tensor]] = {}
        out: dict[str, dict[str, Tensor]] = {}
        for linear in self._linears:
            leader = self._leader.get(linear.name)
            if leader is not None:
                out[linear.name] = shared[leader]
                continue
            kind = kind_of(linear)
            if kind not in stand_ins:
                stand_ins[kind] = self._stand_in(kind)
            out[linear.name] = stand_ins[kind]
        self._accumulators.clear()
        self._results = out
        return out

    @property
    def notes(self) -> list[str]:
        """One sentence per kind of matrix that no token reached, and per increased damping."""
        return self.notes_on(self._linears)

    def notes_on(self, linears: Sequence[PrunableLinear]) -> list[str]:
        """The notes on some of the matrices."""
        self.results()
        missed: dict[str, list[PrunableLinear]] = {}
        for linear in linears:
            if linear.name not in self._leader:
                missed.setdefault(kind_of(linear), []).append(linear)
        notes = [self._note(kind, members) for kind, members in missed.items()]
        sources = dict.fromkeys(self._leader.get(x.name, kind_of(x)) for x in linears)
        return notes + [self._raised[name] for name in sources if name in self._raised]

    def steps(self) -> list[list[PrunableLinear]]:
        """The matrices in execution order, grouped by those that can be pruned together.

        A group holds matrices with a common input (q, k and v; gate and up), and those of all
        experts, reached or not, since experts do not feed each other. An expert's kind that was
        not reached at all comes last.
        """
        by_name = {linear.name: linear for linear in self._linears}
        # A name is added to the leaders when its matrix first runs.
        kinds: dict[str, str] = {}
        for name, leader in self._leader.items():
            kinds.setdefault(kind_of(by_name[name]), kind_of(by_name[leader]))
        steps: dict[str, list[PrunableLinear]] = {kind: [] for kind in kinds.values()}
        for linear in self._linears:
            kind = kind_of(linear)
            steps.setdefault(kinds.get(kind, kind), []).append(linear)
        return list(steps.values())

    def _note(self, kind: str, members: list[PrunableLinear]) -> str:
        total = sum(kind_of(linear) == kind for linear in self._linears)
        what = "the pooled statistics of the others"
        if len(members) == total:
            what = "their weights alone, as no other like them was reached"
        return (
            f"{kind}: no calibration token reached {len(members)} of {total}; they are scored by "
            f"{what}; more calibration text may reach them"
        )

    def _stand_in(self, kind: str) -> dict[str, Tensor]:
        members = [linear for linear in self._linears if kind_of(linear) == kind]
        pooled = self._new_accumulator(members[0])
        for linear in members:
            leader = self._leader.get(linear.name)
            if leader is not None:
                pooled.merge(self._accumulators[leader])
        return self._result(kind, pooled)

    def _result(self, name: str, accumulator: InputAccumulator) -> dict[str, Tensor]:
        values = accumulator.result()
        if accumulator.damping > DAMPING:
            text = f"damping of the curvature raised from {DAMPING:g} to {accumulator.damping:g}"
            self._raised[name] = f"{name}: {text}"
        return values

    def _hook(self, linear: PrunableLinear) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            self._record(linear, x)
            self._order.append(linear.name)
            if linear.name == self._last:
                self._inputs.clear()
                raise EnoughSeenError

        return hook

    def _end_pass(self, *_: object) -> None:
        self._inputs.clear()
        # The last matrix is only known if the first pass reached every matrix once: which experts
        # are reached depends on the data.
        once = sorted(self._order) == sorted(linear.name for linear in self._linears)
        if self._inputs_only and once:
            self._last = self._order[-1]
        self._order.clear()

    def _record(self, linear: PrunableLinear, x: Tensor) -> None:
        if not x.numel():
            return  # an expert without tokens; all empty tensors have one address
        key = (x.data_ptr(), x.numel(), x.shape[-1], x._version)
        known = self._inputs.get(key)
        leader = self._leader.get(linear.name)
        if leader is None:
            leader = known[1] if known else linear.name
            self._leader[linear.name] = leader
        if known and known[1] == leader:
            return
        if leader != linear.name:
            raise AutopruneError(
                f"{linear.name} shared its input with {leader} on one batch and not on another; "
                "blocks whose wiring depends on the data cannot be calibrated"
            )
        self._inputs[key] = (x, leader)
        if leader not in self._accumulators:
            self._accumulators[leader] = self._new_accumulator(linear)
        self._accumulators[leader].add(x)

    def _new_accumulator(self, linear: PrunableLinear) -> InputAccumulator:
        return InputAccumulator(linear.shape[1], self._needs, linear.read().device)

    @contextmanager
    def _watch_experts(self, owner: nn.Module, members: list[PrunableLinear]) -> Iterator[None]:
        run = owner.forward
        by_slice = {(m.attribute, m.expert or 0): m for m in members}
        names = sorted({m.attribute for m in members})

        def forward(*args: Any, **kwargs: Any) -> Any:
            mode = _ExpertProducts(owner, names)
            with _eager_experts(owner), mode:
                result = run(*args, **kwargs)
            for attribute, expert, x in mode.seen:
                self._record_expert(by_slice[attribute, expert], x)
            missing = set(names) - {attribute for attribute, _, _ in mode.seen}
            if missing and any(isinstance(a, Tensor) and a.numel() for a in args):
                self._silent_experts.add(f"{type(owner).__name__}.{', '.join(sorted(missing))}")
            return result

        owner.__dict__["forward"] = forward
        try:
            yield
        finally:
            owner.__dict__.pop("forward", None)

    def _record_expert(self, linear: PrunableLinear, x: Tensor) -> None:
        if not x.numel():
            return  # some families multiply the slices of experts without tokens as well
        self._leader[linear.name] = linear.name
        if linear.name not in self._accumulators:
            self._accumulators[linear.name] = self._new_accumulator(linear)
        self._accumulators[linear.name].add(x)


def kind_of(linear: PrunableLinear) -> str:
    """The matrix's name without its expert number: equal for all matrices with the same role."""
    if linear.expert is not None:
        return linear.name.rpartition("[")[0]
    # The first number is that of the block; later ones count experts that are modules.
    parts = linear.name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    for place in numbers[1:]:
        parts[place] = "*"
    return ".".join(parts)


class _ExpertProducts(TorchFunctionMode):
    """Records every product of an activation with a slice of an expert parameter."""

    def __init__(self, owner: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, Tensor]] = []
        self._parameters: list[tuple[str, Tensor]] = []
        for name in names:
            parameter: Tensor = getattr(owner, name)
            self._parameters.append((name, parameter.detach()))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _PRODUCTS and len(args) > 1 and isinstance(args[1], Tensor):
            self._note(args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _note(self, x: Tensor, weight: Tensor) -> None:
        start = weight.untyped_storage().data_ptr()
        for name, parameter in self._parameters:
            if parameter.untyped_storage().data_ptr() != start:
                continue
            offset = weight.storage_offset() - parameter.storage_offset()
            if weight.ndim == 3:
                self.seen.extend((name, expert, part) for expert, part in enumerate(x))
            elif 0 <= offset < parameter.numel():
                self.seen.append((name, offset // parameter.stride(0), x))


@contextmanager
def _eager_experts(owner: nn.Module) -> Iterator[None]:
    """Let the module's own loop over experts run instead of a fused kernel."""
    config: Any = getattr(owner, "config", None)
    if getattr(config, "_experts_implementation", None) is None:
        yield
        return
    before = config._experts_implementation
    config._experts_implementation = "eager"
    try:
        yield
    finally:
        config._experts_implementation = before
