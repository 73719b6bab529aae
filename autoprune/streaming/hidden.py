"""Hidden states of all calibration windows in a file instead of in memory."""

import tempfile
from collections.abc import Iterable, Iterator, MutableSequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.streaming.shards import raw_bytes, read_all, write_all


class HiddenFile(MutableSequence[Tensor]):
    """A list of tensors that lies in a temporary file; one of them is in memory at a time.

    Tensors are replaced by ones of the same shape, as hidden states are from block to block.

    Args:
        folder: Where the file lies; it vanishes with the process.
        device: Where tensors go when they are read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._device = device
        self._slots: list[tuple[int, torch.Size, torch.dtype]] = []
        self._end = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        start, shape, dtype = self._slots[index]
        value = torch.empty(shape, dtype=dtype)
        self._file.seek(start)
        read_all(self._file, raw_bytes(value), "the file of hidden states")
        return value.to(self._device)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            parts: Iterable[Tensor] = value
            for position, part in zip(range(len(self))[index], parts, strict=True):
                self[position] = part
            return
        start, shape, dtype = self._slots[index]
        if value.shape != shape or value.dtype != dtype:
            raise ValueError(f"slot {index} holds {dtype} {list(shape)}, got {list(value.shape)}")
        self._write(start, value)

    def __delitem__(self, index: Any) -> None:
        raise TypeError("hidden states are replaced, never removed")

    def insert(self, index: int, value: Tensor) -> None:
        """Append; hidden states come in the order of their batches."""
        if index != len(self):
            raise ValueError(f"hidden states are appended; position {index} is not the end")
        self._slots.append((self._end, value.shape, value.dtype))
        self._write(self._end, value)
        self._end += value.numel() * value.element_size()

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def _write(self, start: int, value: Tensor) -> None:
        self._file.seek(start)
        write_all(self._file, raw_bytes(value.detach().cpu().contiguous()))
