"""Find a model's blocks and the weights in them that may be pruned, by structure.

Module names differ between families, so nothing here looks for ``model.layers``: blocks are the
longest list of modules that all hold linear maps, and a linear map is known by its class or, for
fused experts, by its three-dimensional parameter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autoprune.errors import UnsupportedModelError

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class PrunableLinear:
    """One weight matrix that may be pruned.

    Args:
        name: Dotted name, ``model.layers.0.self_attn.q_proj``; experts carry their index,
            ``model.layers.0.mlp.experts.gate_up_proj[3]``.
        block: Number of its block, from 0.
        projection: Last part of the name without the index, ``q_proj``.
        shape: ``(o, i)``: output and input features.
        parameter: Name of the parameter that holds it, ``model.layers.0.self_attn.q_proj.weight``.
        owner: The module that computes with it.
        attribute: Name of the parameter in ``owner``.
        expert: Index on the parameter's first axis, for fused experts.
        transposed: Whether the parameter stores ``[i, o]``.
    """

    name: str
    block: int
    projection: str
    shape: tuple[int, int]
    parameter: str
    owner: nn.Module = field(repr=False, compare=False)
    attribute: str = field(repr=False, compare=False)
    expert: int | None = None
    transposed: bool = False

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    def orient(self, value: Tensor) -> Tensor:
        """This matrix, ``[o, i]``, as a view of a tensor laid out like the parameter."""
        part = value if self.expert is None else value[self.expert]
        return part.mT if self.transposed else part

    def read(self) -> Tensor:
        """The weight, ``[o, i]``: a view without gradient, not to be written to."""
        stored: Tensor = getattr(self.owner, self.attribute)
        return self.orient(stored.detach())

    @torch.no_grad()
    def write(self, weight: Tensor) -> None:
        """Replace the weight in place."""
        if tuple(weight.shape) != self.shape:
            raise ValueError(f"{self.name} is {self.shape}, the new weight {tuple(weight.shape)}")
        self.read().copy_(weight)

    @torch.no_grad()
    def zero(self, keep: Tensor) -> None:
        """Zero the weights that are not kept, in place; the others keep every bit.

        The bits are multiplied by one or zero: twenty times faster than a selection on a CPU, and
        unlike a product of floats it leaves no negative zero and no NaN from an infinite weight.
        """
        weight = self.read()
        weight.view(_BITS[weight.element_size()]).mul_(keep.to(weight.device))


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder's blocks: the longest outermost list of modules that all hold linear maps."""
    return _named_blocks(model)[1]


def text_config(model: PreTrainedModel) -> PretrainedConfig:
    """Settings of the language model, which models that also read images keep apart."""
    return model.config.get_text_config(decoder=True)


def prunable_linears(model: PreTrainedModel) -> list[PrunableLinear]:
    """All prunable matrices in block order, then in the order the modules were defined.

    Embeddings, heads, norms and everything else outside blocks are left alone, and inside blocks
    routers, gates with a single output and step projections of state spaces. A matrix shared by two
    modules appears once.
    """
    prefix, blocks = _named_blocks(model)
    hidden = text_config(model).hidden_size
    outside = (model.get_input_embeddings(), model.get_output_embeddings())
    seen = {id(p) for module in outside if module is not None for p in module.parameters()}
    found: list[PrunableLinear] = []
    for index, block in enumerate(blocks):
        for path, owner, attribute in _weights(block):
            parameter: nn.Parameter = getattr(owner, attribute)
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            base = ".".join((prefix, str(index), path)).rstrip(".")
            found.extend(_matrices(base, index, owner, attribute, parameter, hidden))
    return found


def _matrices(
    base: str, block: int, owner: nn.Module, attribute: str, parameter: nn.Parameter, hidden: int
) -> Iterator[PrunableLinear]:
    full = f"{base}.{attribute}"
    if parameter.ndim == 2:
        transposed = isinstance(owner, Conv1D)
        o, i = reversed(parameter.shape) if transposed else parameter.shape
        last = base.rpartition(".")[2]
        yield PrunableLinear(
            base, block, last, (o, i), full, owner, attribute, transposed=transposed
        )
        return
    transposed = _experts_transposed(owner, hidden)
    o, i = reversed(parameter.shape[1:]) if transposed else parameter.shape[1:]
    for expert in range(parameter.shape[0]):
        name = f"{full}[{expert}]"
        yield PrunableLinear(
            name, block, attribute, (o, i), full, owner, attribute, expert, transposed
        )


def expert_parameters(module: nn.Module) -> list[str]:
    """Names of a module's own fused expert weights, ``[experts, ., .]``; empty for all others."""
    if type(module).__module__.startswith("torch.nn."):
        return []  # a convolution's kernel has three axes as well
    count = getattr(module, "num_experts", None)
    named = "expert" in type(module).__name__.lower()
    return [
        name
        for name, value in module.named_parameters(recurse=False)
        if value.ndim == 3
        and value.is_floating_point()
        and min(value.shape[1:]) > 1
        and (value.shape[0] == count or named)
    ]


def _weights(block: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    left = _router_ids(block) | _uncalled_ids(block)
    for path, module in block.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            if id(module) not in left:
                yield path, module, "weight"
        else:
            for name in expert_parameters(module):
                yield path, module, name


def _router_ids(block: nn.Module) -> set[int]:
    """Linear maps that choose or weigh experts, known by their outputs, not by their names."""
    routers: set[int] = set()
    for module in block.modules():
        children = list(module.children())
        # A router of its own class knows how many experts it chooses from.
        known = [getattr(module, "num_experts", None), *map(_expert_count, children)]
        counts = {count for count in known if isinstance(count, int)}
        in_router = "router" in type(module).__name__.lower()
        for child in children:
            if not isinstance(child, nn.Linear):
                continue
            if child.out_features in counts or child.out_features == 1 or in_router:
                routers.add(id(child))
    return routers


def _uncalled_ids(block: nn.Module) -> set[int]:
    """Step projections of state spaces (Mamba): their weight is read, but they are never called.

    So hooks never see their inputs; they hold few weights.
    """
    spaces = (module for module in block.modules() if hasattr(module, "A_log"))
    return {id(module.dt_proj) for module in spaces if hasattr(module, "dt_proj")}


def _expert_count(module: nn.Module) -> int | None:
    if isinstance(module, nn.ModuleList) and len(module) > 1:
        return len(module) if all(_holds_linears(child) for child in module) else None
    for child in module.modules():
        for name in expert_parameters(child):
            parameter: Tensor = getattr(child, name)
            return parameter.shape[0]
    return None


def _experts_transposed(module: nn.Module, hidden: int) -> bool:
    declared = getattr(module, "is_transposed", None)
    if declared is not None:
        return bool(declared)
    names = expert_parameters(module)
    if len(names) < 2:
        return False
    # The first map of an expert reads the hidden state, and both maps share one layout.
    first: Tensor = getattr(module, names[0])
    return first.shape[1] == hidden and first.shape[2] != hidden


def _holds_linears(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Linear | Conv1D) or expert_parameters(m) for m in module.modules())


def _named_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    candidates: list[tuple[str, nn.ModuleList]] = []
    for name, module in model.named_modules():
        # Parents come first, so lists inside a block (its experts) are recognised by their prefix.
        if any(name.startswith(f"{outer}.") for outer, _ in candidates):
            continue
        if isinstance(module, nn.ModuleList) and len(module) and all(map(_holds_linears, module)):
            candidates.append((name, module))
    if not candidates:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no list of blocks with linear maps, so there is nothing "
            "to prune; take a decoder whose blocks are nn.Linear, Conv1D or fused experts"
        )
    decoder = set(map(id, _decoder(model).modules()))
    inside = [entry for entry in candidates if id(entry[1]) in decoder] or candidates

    def size(entry: tuple[str, nn.ModuleList]) -> tuple[int, int]:
        return len(entry[1]), sum(p.numel() for p in entry[1].parameters())

    return max(inside, key=size)


def _decoder(model: PreTrainedModel) -> nn.Module:
    """The language part of a model that may also hold a vision or audio tower."""
    decoder = model.get_decoder()
    return decoder if isinstance(decoder, nn.Module) else model
