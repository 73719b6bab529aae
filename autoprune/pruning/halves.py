"""A block cut in two: attention with its residual addition, and the MLP after it.

Families differ in what lies between the two, so the cut is found in one pass. It is at the first
child after attention that reads a tensor no earlier child has read or written. That tensor is the
sum of hidden state and attention; if both halves read the same state, there is no cut.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UsageError
from autoprune.models.capture import BlockStream, EnoughSeenError


@dataclass(frozen=True)
class Halves:
    """The next block of a stream, cut in two.

    Args:
        stream: Hidden states before the block.
        first: Parameters that run before the cut, by identity.
        reader: The child that reads the state at the cut.
    """

    stream: BlockStream
    first: frozenset[int]
    reader: nn.Module

    @classmethod
    def of_next(cls, stream: BlockStream) -> "Halves":
        """Find the cut of the next block."""
        block = stream.blocks[stream.position]
        watch = _Watch(stream.hidden[0])
        with ExitStack() as hooks, torch.no_grad(), suppress(EnoughSeenError):
            for child in block.children():
                before = child.register_forward_pre_hook(watch.reads, with_kwargs=True)
                hooks.callback(before.remove)
                hooks.callback(child.register_forward_hook(watch.wrote).remove)
            stream.output(0)
        if watch.reader is None:
            raise UsageError(
                f"repair 'ebft:halves=true' tunes attention and then the MLP behind it, and no "
                f"state stands between the two in {type(block).__name__}, block {stream.position} "
                f"of a {stream.model.config.model_type}; leave out halves"
            )
        first = (parameter for child in watch.before for parameter in child.parameters())
        return cls(stream, frozenset(map(id, first)), watch.reader)

    def middle(self, number: int, hidden: Tensor | None = None) -> Tensor:
        """The state at the cut for one batch; see :meth:`BlockStream.output`."""
        found: list[Tensor] = []

        def catch(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            found.append(_state(args, kwargs))
            raise EnoughSeenError

        handle = self.reader.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with suppress(EnoughSeenError):
                self.stream.output(number, hidden)
        finally:
            handle.remove()
        return found[0]


class _Watch:
    """Watches what the children of a block read and write, up to the cut."""

    def __init__(self, hidden: Tensor) -> None:
        self.before: list[nn.Module] = []
        self.reader: nn.Module | None = None
        self._size = hidden.numel()
        # Keep references, so that no later tensor reuses their memory.
        self._known: list[Tensor] = [hidden]
        self._attended = False

    def reads(self, child: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        state = _state(args, kwargs)
        if self._attended and state.numel() == self._size and not self._knows(state):
            self.reader = child
            raise EnoughSeenError
        self._known.extend(_tensors((args, tuple(kwargs.values()))))

    def wrote(self, child: nn.Module, _: Any, result: Any) -> None:
        self._known.extend(_tensors(result))
        self.before.append(child)
        # A norm has no matrix.
        self._attended |= any(parameter.ndim > 1 for parameter in child.parameters())

    def _knows(self, state: Tensor) -> bool:
        place = state.untyped_storage().data_ptr()
        return any(known.untyped_storage().data_ptr() == place for known in self._known)


def _state(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    return next(_tensors((args, tuple(kwargs.values()))))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
