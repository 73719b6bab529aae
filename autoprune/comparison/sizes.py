"""Bytes of a model's tensors as saved, and in a compact checkpoint."""

from typing import Any

import torch
from torch import Tensor

from autoprune.models.loading import LoadedModel
from autoprune.models.saved_type import checkpoint_type, weights_as
from autoprune.precision import type_name

# Integer views of the same bits, so a negative zero counts as a value, as in the encoding.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def saved_bytes(loaded: LoadedModel) -> dict[str, Any]:
    """Compute what `autoprune prune` and `autoprune compact` would write, without file headers."""
    kind = checkpoint_type(loaded.source)
    dense = compact = 0
    with weights_as(loaded.model, kind):
        seen: set[int] = set()
        for tensor in loaded.model.state_dict().values():
            if tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            dense += tensor.nbytes
            compact += _compact_bytes(tensor)
    saved = kind or loaded.model.dtype
    return {"dense": dense, "compact": compact, "type": type_name(saved)}


def _compact_bytes(tensor: Tensor) -> int:
    """Bytes of the bitmask encoding, or of the tensor itself if that is smaller."""
    if tensor.dim() < 2 or not tensor.is_floating_point():
        return tensor.nbytes
    size = tensor.element_size()
    values = int(torch.count_nonzero(tensor.contiguous().view(_BITS[size])))
    return min(tensor.nbytes, (tensor.numel() + 7) // 8 + values * size)
