"""Names of number types, and float64 on every device.

Apple's ``mps`` lacks float64, so such work is done on the CPU.
"""

import torch
from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})


def type_name(dtype: torch.dtype) -> str:
    """A type as records and options call it, for example ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


def where_float64_is(x: Tensor) -> Tensor:
    """``x`` where float64 is supported: on its own device, otherwise a copy in main memory."""
    return x.cpu() if x.device.type in WITHOUT_FLOAT64 else x


def in_float64(x: Tensor) -> Tensor:
    """``x`` as float64; see :func:`where_float64_is` for its device."""
    return where_float64_is(x).double()
