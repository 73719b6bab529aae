"""Watch a model's logits while something else runs it: a generator, a harness."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError


class NotFiniteError(AutopruneError):
    """A model computed NaN or infinite logits: a result of the measurement, not an error in it."""

    def __init__(self) -> None:
        super().__init__("the logits are NaN or infinite: the model computes no usable numbers")


@contextmanager
def finite_logits(model: PreTrainedModel) -> Iterator[None]:
    """Watch every forward pass of the block.

    A low-precision type may overflow on one prompt and on no other. The answer that follows from
    NaN looks like any other and would count as an ordinary wrong one.
    """
    handle = model.register_forward_hook(_check)
    try:
        yield
    finally:
        handle.remove()


def _check(_model: Any, _inputs: Any, output: Any) -> None:
    logits = getattr(output, "logits", None)
    if logits is None or not logits.numel():
        return
    # Minimum and maximum show NaN and both infinities, and need no memory apart from the logits.
    least, largest = torch.aminmax(logits)
    if not bool(torch.isfinite(least) & torch.isfinite(largest)):
        raise NotFiniteError
