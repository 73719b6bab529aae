"""Walk hidden states through a model block by block.

The model itself prepares what each block receives (masks, rotary tables, ALiBi), and families
differ in all of it, so nothing is enumerated here: one pass with the blocks short-circuited
records every argument of every block verbatim, and replay passes them on unchanged. Sliding and
full attention blocks of one model receive different masks, so each block keeps its own.
"""

import copy
from collections import deque
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError
from autoprune.models.positions import require_positions
from autoprune.models.structure import find_blocks

_HIDDEN = "hidden_states"


class EnoughSeenError(Exception):
    """Raised by a hook that has seen all it needs; ends a block's pass in ``run``."""


class _LastBlockReachedError(Exception):
    """Ends a forward pass whose rest is not needed."""


@dataclass(frozen=True)
class BlockCall:
    """Everything a block receives besides its hidden state."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    named: bool

    def replay(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """Run ``block`` on ``hidden``, ``[b, s, d]``; returns its output hidden state."""
        try:
            if self.named:
                result = block(*self.args, **{_HIDDEN: hidden}, **self.kwargs)
            else:
                result = block(hidden, *self.args, **self.kwargs)
        except (TypeError, AttributeError) as error:
            raise AutopruneError(
                f"block {type(block).__name__} could not be run alone ({error}); where a block "
                "reads more of the one before than its hidden state, a model cannot be pruned "
                "block by block"
            ) from error
        return output_hidden(block, result, hidden)


def output_hidden(block: nn.Module, result: Any, hidden: Tensor) -> Tensor:
    """The hidden state in a block's return value, a tensor or a tuple that starts with one."""
    output = result[0] if isinstance(result, tuple | list) else result
    if not isinstance(output, Tensor) or output.shape != hidden.shape:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise AutopruneError(
            f"block {type(block).__name__} returned {found} for a hidden state of "
            f"{tuple(hidden.shape)}; a block must return a tensor of the same shape, or a tuple "
            "that starts with it, so this architecture cannot be pruned block by block"
        )
    return output


@dataclass(frozen=True)
class BlockReplay:
    """One block with the inputs that a stream had for it, kept after the stream has moved on.

    Args:
        block: The block; its outputs follow changes of its weights.
        hidden: Inputs, one ``[b, s, d]`` per batch.
        calls: Its other arguments, per batch.
    """

    block: nn.Module
    hidden: tuple[Tensor, ...]
    calls: tuple[BlockCall, ...]

    def part(self, first: int, stop: int) -> "BlockReplay":
        """The same with only some of the batches."""
        return BlockReplay(self.block, self.hidden[first:stop], self.calls[first:stop])

    def in_float32(self) -> "BlockReplay":
        """The same computed in float32; for a model of another type, on a copy of the block."""
        if all(value.dtype is torch.float32 for value in self.block.parameters()):
            return self
        calls = tuple(BlockCall(_float32(c.args), _float32(c.kwargs), c.named) for c in self.calls)
        return BlockReplay(copy.deepcopy(self.block).float(), _float32(self.hidden), calls)

    @torch.no_grad()
    def outputs(self) -> Iterator[Tensor]:
        """Run the block, with its current weights, on every batch."""
        for hidden, call in zip(self.hidden, self.calls, strict=True):
            yield call.replay(self.block, hidden)


class BlockStream:
    """The hidden states of all calibration windows on their way through the blocks.

    Args:
        model: In eval mode.
        windows: Token ids, ``[n, s]``.
        batch: Windows of one replay.
        lengths: See :func:`capture_calls`.
        hidden: Where the hidden states are kept; a list in memory by default.
        position: Block to start at; if it is not the first, ``hidden`` holds its inputs.

    Attributes:
        blocks: The model's blocks.
        hidden: Inputs of the next block, one ``[b, s, d]`` per batch.
        position: Number of the next block.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        windows: Tensor,
        *,
        batch: int = 4,
        lengths: Sequence[int] | None = None,
        hidden: MutableSequence[Tensor] | None = None,
        position: int = 0,
    ) -> None:
        self.model = model
        self.blocks = find_blocks(model)
        self.position = position
        self.hidden: MutableSequence[Tensor] = [] if hidden is None else hidden
        batches = [part.to(model.device) for part in torch.split(windows, batch)]
        # Inputs of the first block are of no use further on, and are dropped.
        first = deque[Tensor](maxlen=0) if position else self.hidden
        self._calls = capture_calls(model, self.blocks, batches, first, lengths)
        self._calls[:position] = [[] for _ in range(position)]

    @torch.no_grad()
    def outputs(self) -> Iterator[Tensor]:
        """Run the next block on every batch, yielding its outputs; moves nothing."""
        for number in range(len(self.hidden)):
            yield self.output(number)

    def output(self, number: int, hidden: Tensor | None = None) -> Tensor:
        """Run the next block on one batch; gradients flow if they are enabled."""
        block, call = self.blocks[self.position], self._calls[self.position][number]
        return call.replay(block, self.hidden[number] if hidden is None else hidden)

    def kept(self) -> BlockReplay:
        """The next block with its inputs, which can be run again at any time."""
        calls = self._calls[self.position]
        return BlockReplay(self.blocks[self.position], tuple(self.hidden), tuple(calls))

    @torch.no_grad()
    def run(self) -> None:
        """Run the next block on every batch and drop the outputs; for hooks inside it.

        A hook may raise :class:`EnoughSeenError` to move on to the next batch.
        """
        block, calls = self.blocks[self.position], self._calls[self.position]
        for hidden, call in zip(self.hidden, calls, strict=True):
            with suppress(EnoughSeenError):
                call.replay(block, hidden)

    def advance(self) -> None:
        """Replace the hidden states by the next block's outputs and move on one block."""
        for index, output in enumerate(self.outputs()):
            self.hidden[index] = output
        self.step()

    def step(self, outputs: Sequence[Tensor] | None = None) -> None:
        """Move on one block, using outputs already computed if given."""
        if outputs is not None:
            self.hidden[:] = outputs
        self._calls[self.position] = []
        self.position += 1


@torch.no_grad()
def capture_calls(
    model: PreTrainedModel,
    blocks: nn.ModuleList,
    batches: Sequence[Tensor],
    hidden: MutableSequence[Tensor],
    lengths: Sequence[int] | None = None,
) -> list[list[BlockCall]]:
    """First-block inputs and all blocks' other arguments, without running any block."""
    require_positions(model, batches[0])
    tuples = _returns_tuples(model, blocks, batches[0][:1, :2]) if lengths is None else lengths
    calls: list[list[BlockCall]] = [[] for _ in blocks]
    pool = _TensorPool()
    recorded: list[tuple[Tensor, BlockCall]] = []
    with _replaced_forwards(blocks, tuples, recorded):
        for batch in batches:
            recorded.clear()
            _run_to_last_block(model, blocks, batch)
            if len(recorded) != len(blocks):
                raise AutopruneError(
                    f"{type(model).__name__} ran {len(recorded)} of its {len(blocks)} blocks on "
                    "one input; models that skip or repeat blocks cannot be pruned block by block"
                )
            hidden.append(recorded[0][0])
            for index, (_, call) in enumerate(recorded):
                kwargs = {name: pool.share(value) for name, value in call.kwargs.items()}
                args = tuple(pool.share(value) for value in call.args)
                calls[index].append(BlockCall(args, kwargs, call.named))
    return calls


@torch.no_grad()
def tuple_length(
    model: PreTrainedModel, blocks: nn.ModuleList, before: Sequence[int], probe: Tensor
) -> int:
    """Length of the tuple that block number ``len(before)`` returns, 0 for a bare tensor."""
    block = blocks[len(before)]
    lengths: list[int] = []
    handle = block.register_forward_hook(lambda _, __, result: lengths.append(_length(result)))
    try:
        with _replaced_forwards(blocks, before, []):
            _run_to_last_block(model, blocks[: len(before) + 1], probe)
    finally:
        handle.remove()
    return lengths[0]


class _TensorPool:
    """Keeps one copy of equal masks and tables; batches of one shape share all of theirs."""

    def __init__(self) -> None:
        self._by_shape: dict[tuple[Any, ...], list[Tensor]] = {}

    def share(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self.share(part) for part in value)
        if not isinstance(value, Tensor):
            return value
        known = self._by_shape.setdefault((tuple(value.shape), value.dtype, value.device), [])
        for other in known:
            if other is value or torch.equal(other, value):
                return other
        known.append(value)
        return value


def _float32(value: Any) -> Any:
    """The value with the floating-point tensors in its tuples and mappings as float32."""
    if isinstance(value, tuple):
        return tuple(_float32(part) for part in value)
    if isinstance(value, dict):
        return {name: _float32(part) for name, part in value.items()}
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_real else value


def _split_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, BlockCall]:
    if args:
        return args[0], BlockCall(args[1:], dict(kwargs), named=False)
    rest = {name: value for name, value in kwargs.items() if name != _HIDDEN}
    return kwargs[_HIDDEN], BlockCall((), rest, named=True)


def _returns_tuples(model: PreTrainedModel, blocks: nn.ModuleList, probe: Tensor) -> list[int]:
    """Length of the tuple each block returns, 0 for a bare tensor; found by running two tokens."""
    lengths: list[int] = []

    def note(_: nn.Module, __: Any, result: Any) -> None:
        lengths.append(_length(result))

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(note).remove)
        _run_to_last_block(model, blocks, probe)
    return lengths


def _length(result: Any) -> int:
    return len(result) if isinstance(result, tuple) else 0


@contextmanager
def _replaced_forwards(
    blocks: nn.ModuleList, tuples: Sequence[int], recorded: list[tuple[Tensor, BlockCall]]
) -> Iterator[None]:
    def stand_in(length: int) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden, call = _split_call(args, kwargs)
            recorded.append((hidden, call))
            return (hidden, *([None] * (length - 1))) if length else hidden

        return forward

    try:
        for block, length in zip(blocks, tuples, strict=False):
            # An instance attribute hides the class's method until it is deleted again.
            block.__dict__["forward"] = stand_in(length)
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _run_to_last_block(model: PreTrainedModel, blocks: nn.ModuleList, ids: Tensor) -> None:
    def stop(*_: Any) -> None:
        raise _LastBlockReachedError

    handle = blocks[-1].register_forward_hook(stop)
    try:
        model(input_ids=ids, use_cache=False)
    except _LastBlockReachedError:
        return
    finally:
        handle.remove()
