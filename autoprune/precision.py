"""Float64 on every device: Apple's ``mps`` has none, so what needs it is computed on the CPU."""

from torch import Tensor

WITHOUT_FLOAT64 = frozenset({"mps"})


def where_float64_is(x: Tensor) -> Tensor:
    """``x`` where float64 can be had: on its own device, else a copy of it in main memory."""
    return x.cpu() if x.device.type in WITHOUT_FLOAT64 else x
