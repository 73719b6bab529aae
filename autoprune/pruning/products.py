"""The type in which matrix products are computed: bfloat16 where a device is fast with it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from autoprune.models.device import default_device
from autoprune.pruning.plan import Precision


def products_type(
    device: torch.device, weights: torch.dtype, precision: Precision = "auto"
) -> torch.dtype:
    """Type of matrix products: bfloat16 if that is faster than the weights' own type."""
    if precision == "float32" or weights != torch.float32:
        return weights
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else weights
    # Without native instructions a CPU emulates them, many times slower than float32.
    fast = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if fast else weights


def products_class(device: str = "cpu") -> str:
    """Class of this machine by what its products in tuning are made with.

    ``amx`` and ``avx512_bf16`` multiply bfloat16 natively, ``float32`` does not; an accelerator is
    a class of its own by its type, such as ``cuda``.
    """
    if device != "cpu":
        return device
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if tiles is not None and tiles():
        return "amx"
    return "avx512_bf16" if _cpu_has_bfloat16() else "float32"


def products_of(
    device: torch.device, weights: torch.dtype, precision: Precision = "auto"
) -> AbstractContextManager[Any]:
    """Compute products in :func:`products_type` inside the context."""
    chosen = products_type(device, weights, precision)
    if chosen == weights:
        return nullcontext()
    return torch.autocast(device.type, dtype=chosen)


def settled_precision(
    wanted: Literal["auto", "float32", "bfloat16"], device: str | None
) -> Literal["float32", "bfloat16"]:
    """The type that ``auto`` stands for on a device, for figures that must all be of one type."""
    if wanted != "auto":
        return wanted
    found = products_type(torch.device(device or default_device()), torch.float32)
    return "bfloat16" if found == torch.bfloat16 else "float32"


def _cpu_has_bfloat16() -> bool:
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked()) if asked is not None else False
