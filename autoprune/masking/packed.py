"""Masks packed to one bit per weight, with a digest that identifies the mask."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoprune.digest import digest_bytes
from autoprune.errors import DamagedFileError


@dataclass(frozen=True)
class PackedMask:
    """A keep mask, row-major, most significant bit first, padded with zero bits.

    Args:
        bits: ``ceil(o * i / 8)`` bytes.
        shape: [o, i].
    """

    bits: bytes
    shape: tuple[int, int]

    @property
    def digest(self) -> str:
        """SHA-256 of shape and bits."""
        return digest_bytes(f"{self.shape[0]}x{self.shape[1]}:".encode() + self.bits)

    def unpack(self) -> Tensor:
        """The keep mask, bool [o, i].

        Raises:
            DamagedFileError: If the number of bytes does not fit the shape.
        """
        count = self.shape[0] * self.shape[1]
        if len(self.bits) != (count + 7) // 8:
            raise DamagedFileError(
                f"packed mask has {len(self.bits)} bytes, {(count + 7) // 8} belong to "
                f"{self.shape[0]} x {self.shape[1]} weights; make it again"
            )
        flat = np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=count)
        return torch.from_numpy(flat.astype(bool)).view(self.shape)


def pack_mask(keep: Tensor) -> PackedMask:
    """Pack a keep mask, bool [o, i]."""
    rows, columns = keep.shape
    flat = keep.detach().cpu().reshape(-1).numpy()
    return PackedMask(np.packbits(flat).tobytes(), (rows, columns))


def masks_digest(masks: Mapping[str, Tensor]) -> str:
    """One digest for the masks of a model: names (sorted), shapes and bits.

    Two candidates with the same digest prune the same weights.
    """
    return joint_digest({name: pack_mask(mask).digest for name, mask in masks.items()})


def joint_digest(digests: Mapping[str, str]) -> str:
    """:func:`masks_digest` from each mask's own digest, for masks never in memory together."""
    sha = hashlib.sha256()
    for name in sorted(digests):
        sha.update(f"{name}={digests[name]}\n".encode())
    return sha.hexdigest()
