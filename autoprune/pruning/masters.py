"""Support for gradient training of a pruned model: float32 copies, masks, fast products."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.models.structure import PrunableLinear
from autoprune.pruning.plan import Precision
from autoprune.pruning.products import products_of, products_type
from autoprune.repair import BlockTuning


@dataclass(frozen=True)
class Master:
    """A parameter that is trained.

    Args:
        parameter: A parameter of any floating type.
        master: The same values in float32; the parameter itself if it is float32.
        pruned: Weights that stay exactly as they are, bool in the parameter's shape; None: all
            are trained.
    """

    parameter: nn.Parameter
    master: Tensor
    pruned: Tensor | None = None

    @classmethod
    def of(cls, parameter: nn.Parameter, pruned: Tensor | None = None) -> "Master":
        """Build a master for a parameter, creating its float32 values."""
        return cls(parameter, parameter.detach().float(), pruned)

    def take(self, gradient: Tensor | None) -> None:
        """Set the master's gradient, 0 for pruned weights; None if no gradient reached it."""
        if gradient is not None:
            gradient = gradient.float()
            if gradient.stride() != self.master.stride():
                # Fused Adam follows memory order, not indices.
                gradient = torch.empty_like(self.master).copy_(gradient)
            if self.pruned is not None:
                # On a CPU a product of one type is vectorised, and faster than masked_fill_.
                gradient.mul_((~self.pruned).to(gradient.dtype))
        self.master.grad = gradient

    def publish(self) -> None:
        """Write the master's values into a parameter of another type."""
        if self.parameter.dtype != self.master.dtype:
            self.parameter.detach().copy_(self.master)


def masters_of(
    members: Sequence[PrunableLinear], keep: Mapping[str, Tensor] | None = None
) -> list[Master]:
    """Masters of matrices; experts that share a parameter share one."""
    parameters = {layer.parameter: getattr(layer.owner, layer.attribute) for layer in members}
    if keep is None:
        return [Master.of(parameter) for parameter in parameters.values()]
    masks = {
        name: torch.zeros_like(value, dtype=torch.bool, requires_grad=False)
        for name, value in parameters.items()
    }
    for layer in members:
        layer.orient(masks[layer.parameter]).copy_(keep[layer.name])
    return [Master.of(parameter, ~masks[name]) for name, parameter in parameters.items()]


def vectors_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """Norms and biases of a model or block by name: all that is trained besides matrices."""
    return {name: value for name, value in module.named_parameters() if value.ndim == 1}


def recovered_vectors(model: PreTrainedModel) -> list[nn.Parameter]:
    """Norms and biases that a recovery trains: all but those of the head and the embeddings."""
    outside = (model.get_input_embeddings(), model.get_output_embeddings())
    fixed = {id(p) for module in outside if module is not None for p in module.parameters()}
    return [value for value in vectors_of(model).values() if id(value) not in fixed]


@contextmanager
def gradients_of(parts: Sequence[Master]) -> Iterator[None]:
    """Enable gradients for these parameters; restore their flags afterwards."""
    asked = [part.parameter.requires_grad for part in parts]
    for part in parts:
        part.parameter.requires_grad_(True)
    try:
        yield
    finally:
        for part, own in zip(parts, asked, strict=True):
            part.parameter.requires_grad_(own)
            part.master.grad = None


def passes_of(
    model: PreTrainedModel, how: BlockTuning | None, precision: Precision = "auto"
) -> AbstractContextManager[Any]:
    """Compute passes without gradients as block tuning says inside the context, else unrounded."""
    rounds = how is not None and how.passes == "bfloat16"
    return products_of(model.device, model.dtype, precision if rounds else "float32")


def passes_notes(
    model: PreTrainedModel, how: BlockTuning | None, precision: Precision = "auto"
) -> list[str]:
    """A note on whether passes of block tuning meant for bfloat16 use it."""
    if how is None or how.passes != "bfloat16":
        return []
    found = products_type(model.device, model.dtype, precision)
    return [f"ebft: passes of blocks computed in {str(found).removeprefix('torch.')}"]
