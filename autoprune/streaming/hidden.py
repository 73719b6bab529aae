"""Hidden states of all calibration windows in a file instead of in memory."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from autoprune.errors import DamagedFileError
from autoprune.precision import type_name
from autoprune.streaming.shards import raw_bytes, read_all, write_all


@dataclass(frozen=True)
class TensorPlaces:
    """The two places reserved for a tensor.

    Args:
        start: First byte of its first place in the file.
        size: Bytes of each place.
        side: The place it was last written to, 0 or 1.
        shape: Its shape.
        dtype: Its type, by torch's name.
        digest: SHA-256 of its bytes.
    """

    start: int
    size: int
    side: int
    shape: Sequence[int]
    dtype: str
    digest: str


class HiddenFile(MutableSequence[Tensor]):
    """A list of tensors stored in a file; only one of them is in memory at a time.

    Tensors are replaced by ones of the same shape, as hidden states are from block to block. Each
    has two places in the file. New values go to the place not protected by :meth:`keep`, so the
    last kept state stays intact until the next call.

    Args:
        file: Opened unbuffered for reading and writing.
        device: Device that tensors are read to.
        kept: What :meth:`keep` returned when the file was written.

    Raises:
        DamagedFileError: If the file does not hold what was kept.
    """

    def __init__(
        self, file: IO[bytes], device: torch.device, kept: Sequence[TensorPlaces] = ()
    ) -> None:
        self._file = file
        self._device = device
        self._slots: list[TensorPlaces] = list(kept)
        self._kept: list[TensorPlaces] = list(kept)
        for slot in kept:
            if hashlib.sha256(raw_bytes(self._read(slot))).hexdigest() != slot.digest:
                raise DamagedFileError("the file of hidden states is not what was kept")

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        return self._read(self._slots[index]).to(self._device)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            parts: Iterable[Tensor] = value
            for position, part in zip(range(len(self))[index], parts, strict=True):
                self[position] = part
            return
        old = self._slots[index]
        if list(value.shape) != list(old.shape) or value.nbytes > old.size:
            raise ValueError(f"slot {index} holds {old.dtype} {old.shape}, got {value.shape}")
        self._slots[index] = self._write(index, old.start, old.size, value)

    def __delitem__(self, index: Any) -> None:
        raise TypeError("hidden states are replaced, never removed")

    def insert(self, index: int, value: Tensor) -> None:
        """Append; hidden states arrive in the order of their batches."""
        if index != len(self):
            raise ValueError(f"hidden states are appended; position {index} is not the end")
        start = self._slots[-1].start + 2 * self._slots[-1].size if self._slots else 0
        self._slots.append(self._write(index, start, value.nbytes, value))

    def keep(self) -> list[TensorPlaces]:
        """Protect the current values from being overwritten until the next call."""
        self._kept = list(self._slots)
        return self._kept

    def _read(self, slot: TensorPlaces) -> Tensor:
        value = torch.empty(tuple(slot.shape), dtype=getattr(torch, slot.dtype))
        self._file.seek(slot.start + slot.side * slot.size)
        read_all(self._file, raw_bytes(value), "the file of hidden states")
        return value

    def _write(self, index: int, start: int, size: int, value: Tensor) -> TensorPlaces:
        side = 1 - self._kept[index].side if index < len(self._kept) else 0
        raw = raw_bytes(value.detach().cpu().contiguous())
        self._file.seek(start + side * size)
        write_all(self._file, raw)
        name = type_name(value.dtype)
        return TensorPlaces(
            start, size, side, list(value.shape), name, hashlib.sha256(raw).hexdigest()
        )


def scratch(folder: Path, device: torch.device, stack: ExitStack) -> HiddenFile:
    """Hidden states in a file that is removed with the process, or when ``stack`` is closed."""
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
    return HiddenFile(stack.enter_context(file), device)
