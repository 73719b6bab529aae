"""Sparse encodings of one tensor, exact to the bit: zeros are the all-zero bit pattern only.

``-0.0`` is a stored value, so that decoding restores every bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoprune.errors import DamagedFileError
from autoprune.registry import Registry

# Integers of the same width: comparing bits, and a dtype that numpy has (it has no bfloat16).
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Encoding(Protocol):
    """A way to store a tensor without its zeros."""

    @property
    def name(self) -> str:
        """Its name in the registry and in the file."""

    def encode(self, tensor: Tensor) -> dict[str, Tensor]:
        """Parts of ``tensor`` by suffix; their bytes are the size of the encoding."""

    def decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """The tensor, equal to the bit."""


ENCODINGS: Registry[Encoding] = Registry("encoding", "autoprune.encodings")


@dataclass(frozen=True)
class Bitmask:
    """One bit per weight and the non-zero values in order: 1/8 byte per weight plus the values."""

    name: str = "bitmask"

    def encode(self, tensor: Tensor) -> dict[str, Tensor]:
        """See :meth:`Encoding.encode`."""
        bits = _flat_bits(tensor)
        keep = bits != 0
        return {
            "mask": torch.from_numpy(np.packbits(keep, bitorder="little")),
            "values": _as_type(bits[keep], tensor.dtype),
        }

    def decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """See :meth:`Encoding.decode`."""
        values = _flat_bits(parts["values"])
        count = int(np.prod(shape, dtype=np.int64))
        mask = parts["mask"].numpy()
        if len(mask) != (count + 7) // 8:
            raise DamagedFileError(f"a mask of {len(mask)} bytes does not cover {count} weights")
        keep = np.unpackbits(mask, count=count, bitorder="little").view(np.bool_)
        kept = int(np.count_nonzero(keep))
        if kept != len(values):
            raise DamagedFileError(f"{len(values)} values for {kept} bits set in the mask")
        bits = np.zeros(count, values.dtype)
        bits[keep] = values
        return _as_type(bits, parts["values"].dtype).reshape(shape)


@dataclass(frozen=True)
class CompressedRows:
    """CSR: row offsets, column indices and values; the narrowest unsigned index that fits.

    Two bytes per index need at most 65536 columns. Libraries that compute with CSR mostly want
    four or eight, so this is the smallest that CSR can be, not what they would write.
    """

    name: str = "csr"

    def encode(self, tensor: Tensor) -> dict[str, Tensor]:
        """See :meth:`Encoding.encode`."""
        columns = tensor.shape[-1] if tensor.dim() else 1
        bits = _flat_bits(tensor).reshape(-1, max(columns, 1))
        keep = bits != 0
        index = np.uint16 if columns <= 1 << 16 else np.int32
        offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(keep, axis=1))])
        return {
            "offsets": torch.from_numpy(offsets.astype(np.int64)),
            "columns": torch.from_numpy(np.nonzero(keep)[1].astype(index)),
            "values": _as_type(bits[keep], tensor.dtype),
        }

    def decode(self, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """See :meth:`Encoding.decode`."""
        values = _flat_bits(parts["values"])
        offsets, columns = parts["offsets"].numpy(), parts["columns"].numpy()
        width = shape[-1] if shape else 1
        count = int(np.prod(shape, dtype=np.int64))
        rows = count // width if width else 0
        fits = len(offsets) == rows + 1 and int(offsets[-1]) == len(values) == len(columns)
        if not fits or (len(columns) and int(columns.max()) >= width):
            raise DamagedFileError(f"the rows and columns do not fit a tensor of shape {shape}")
        bits = np.zeros((rows, width), values.dtype)
        bits[np.repeat(np.arange(rows), np.diff(offsets)), columns] = values
        return _as_type(bits.reshape(-1), parts["values"].dtype).reshape(shape)


ENCODINGS.add("bitmask", Bitmask())
ENCODINGS.add("csr", CompressedRows())


def bits_equal(first: Tensor, second: Tensor) -> bool:
    """Same shape, type and bits; NaN equals itself, ``-0.0`` differs from ``0.0``."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return bool(np.array_equal(_flat(first).view(torch.uint8), _flat(second).view(torch.uint8)))


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1)


def _flat_bits(tensor: Tensor) -> NDArray[np.generic]:
    flat = _flat(tensor)
    if flat.dtype == torch.bool or flat.dtype.is_complex:
        raise ValueError(f"{flat.dtype} tensors are stored dense only")
    array: NDArray[np.generic] = flat.view(_BITS[flat.element_size()]).numpy()
    return array


def _as_type(bits: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(bits).view(dtype)
