"""The device to compute on: the one that was named, else the accelerator, else the CPU."""

import os

import torch

from autoprune.errors import UsageError, reason_of

DEVICE_VARIABLE = "AUTOPRUNE_DEVICE"


def default_device() -> str:
    """The device in ``AUTOPRUNE_DEVICE``, else the accelerator that torch finds, else the CPU."""
    if named := os.environ.get(DEVICE_VARIABLE):
        require_device(named)
        return named
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return str(accelerator or torch.device("cpu"))


def require_device(name: str) -> None:
    """Check that torch can compute on the device of this name."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device {name!r} cannot be used here ({reason_of(error, 160, first_line=True)}); "
            "allowed are cpu, cuda, cuda:1, mps and others that torch sees"
        ) from error
