"""Neurons of an MLP and key-value groups of attention: find them, count them, cut them out.

A neuron is a row of gate and up and a column of down. A group is a key-value head: its rows of k
and v, the rows of q and the columns of o of the query heads that read it. All blocks keep as many
groups, since a stock configuration has one number for all; of neurons, too, unless a scheme has
rates by block.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UnsupportedModelError
from autoprune.models.structure import find_blocks, text_config
from autoprune.models.widths import MLP, WIDTHS, widths_of
from autoprune.schemes.plan import Kept
from autoprune.schemes.surgery import require_reopens

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class BlockUnits:
    """The parts of one block that units are cut from.

    Args:
        prefix: Dotted name of the block, ``model.layers.0``.
        block: The block.
        mlp: Module with gate, up and down.
        mlp_path: Its name in the block.
        attention: Module with q, k, v and o; None if groups are not requested.
        attention_path: Its name in the block.
    """

    prefix: str
    block: nn.Module = field(repr=False)
    mlp: nn.Module = field(repr=False)
    mlp_path: str
    attention: nn.Module | None = field(default=None, repr=False)
    attention_path: str = ""

    def reader(self, kind: str) -> str:
        """Name of the matrix that reads the units of ``mlp`` or ``attention``."""
        return self._names(kind)[-1]

    def writers(self, kind: str) -> tuple[str, ...]:
        """Names of the matrices that write them."""
        return self._names(kind)[:-1]

    def _names(self, kind: str) -> tuple[str, ...]:
        path, parts = (self.mlp_path, MLP) if kind == "mlp" else (self.attention_path, _ATTENTION)
        return tuple(f"{self.prefix}.{path}.{part}" for part in parts)


@dataclass(frozen=True)
class UnitLayout:
    """Units of a model whose blocks all have the same shape.

    Args:
        blocks: The parts of each block.
        neurons: Neurons per block.
        groups: Key-value heads per block; 0 if not requested.
        heads: Query heads per group.
        head_dim: Features per head.
        neuron_parameters: Parameters of one neuron, biases included.
        group_parameters: Parameters of one group, biases included.
        group_counts: Numbers of groups that the family's configuration allows, descending from all;
            Llama's requires the number of heads to divide the hidden size.
    """

    blocks: tuple[BlockUnits, ...]
    neurons: int
    groups: int
    heads: int
    head_dim: int
    neuron_parameters: int
    group_parameters: int
    group_counts: tuple[int, ...]

    def query_rows(self, groups: Sequence[int]) -> Tensor:
        """Rows of q, and columns of o, of these groups."""
        return _spread(groups, self.heads * self.head_dim)

    def key_rows(self, groups: Sequence[int]) -> Tensor:
        """Rows of k and of v of these groups."""
        return _spread(groups, self.head_dim)


def unit_layout(model: PreTrainedModel, *, attention: bool = True) -> UnitLayout:
    """Find the units.

    Args:
        model: The model.
        attention: Whether to find groups in addition to neurons.

    Raises:
        UnsupportedModelError: If a block has another structure, or blocks differ.
    """
    names = {id(module): name for name, module in model.named_modules()}
    blocks = find_blocks(model)
    found = tuple(_units(model, names[id(block)], block, attention) for block in blocks)
    if len({_shape(entry) for entry in found}) > 1:
        raise UnsupportedModelError(
            f"the blocks of {type(model).__name__} differ in shape, and width is cut where they "
            "are alike; remove whole blocks instead: --scheme depth"
        )
    _require_stated(model, found[0])
    mlp, heads = found[0].mlp, found[0].attention
    down = _linear(mlp, "down_proj").weight
    per_neuron = _per_row(mlp, "gate_proj") + _per_row(mlp, "up_proj") + down.shape[0]
    if heads is None:
        return UnitLayout(found, down.shape[1], 0, 0, 0, per_neuron, 0, (0,))
    config = text_config(model)
    groups = config.num_key_value_heads
    queries = config.num_attention_heads // groups
    head_dim = _linear(heads, "k_proj").weight.shape[0] // groups
    _require_separable(model, heads, groups * queries, head_dim)
    per_query = _per_row(heads, "q_proj") + _linear(heads, "o_proj").weight.shape[0]
    per_key = _per_row(heads, "k_proj") + _per_row(heads, "v_proj")
    per_group = head_dim * (queries * per_query + per_key)
    counts = tuple(n for n in range(groups, 0, -1) if _can_say(config, n, queries, head_dim))
    return UnitLayout(
        found, down.shape[1], groups, queries, head_dim, per_neuron, per_group, counts
    )


@torch.no_grad()
def slice_units(model: PreTrainedModel, neurons: Kept, groups: Kept) -> None:
    """Cut out all but these units in place, and adapt the configuration.

    Args:
        model: Changed in place.
        neurons: Neurons to keep in each block; empty for all.
        groups: Groups to keep in each block; empty for all.

    Raises:
        UnsupportedModelError: If another model would be built from the configuration.
    """
    if not neurons and not groups:
        return
    layout = unit_layout(model, attention=bool(groups))
    config = text_config(model)
    for number, entry in enumerate(layout.blocks):
        if neurons:
            rows = torch.tensor(neurons[number])
            for name in ("gate_proj", "up_proj"):
                _keep(_linear(entry.mlp, name), rows=rows)
            _keep(_linear(entry.mlp, "down_proj"), columns=rows)
            _say(entry.mlp, intermediate_size=len(rows))
        if entry.attention is not None:
            _keep(_linear(entry.attention, "q_proj"), rows=layout.query_rows(groups[number]))
            for name in ("k_proj", "v_proj"):
                _keep(_linear(entry.attention, name), rows=layout.key_rows(groups[number]))
            columns = layout.query_rows(groups[number])
            _keep(_linear(entry.attention, "o_proj"), columns=columns)
            count = len(groups[number])
            _say(entry.attention, num_key_value_heads=count, num_heads=count * layout.heads)
    if neurons:
        widths = [len(kept) for kept in neurons]
        config.intermediate_size = max(widths)
        if len(set(widths)) > 1:
            setattr(config, WIDTHS, widths)
        elif hasattr(config, WIDTHS):
            # The blocks that differed are gone, and stock transformers opens one width.
            delattr(config, WIDTHS)
    if groups:
        _state_heads(config, len(groups[0]), layout.heads, layout.head_dim)
    require_reopens(model)


def _state_heads(config: Any, groups: int, queries: int, head_dim: int) -> None:
    # Otherwise it would be derived from the number of heads, which changes.
    config.head_dim = head_dim
    config.num_key_value_heads = groups
    config.num_attention_heads = groups * queries


def _can_say(config: Any, groups: int, queries: int, head_dim: int) -> bool:
    twin = copy.deepcopy(config)
    _state_heads(twin, groups, queries, head_dim)
    try:
        twin.validate()
    except (StrictDataclassError, ValueError):
        return bool(groups == config.num_key_value_heads)
    return True


def _units(model: PreTrainedModel, prefix: str, block: nn.Module, attention: bool) -> BlockUnits:
    mlp_path, mlp = _holder(model, prefix, block, MLP)
    if not attention:
        return BlockUnits(prefix, block, mlp, mlp_path)
    path, heads = _holder(model, prefix, block, _ATTENTION)
    return BlockUnits(prefix, block, mlp, mlp_path, heads, path)


def _holder(
    model: PreTrainedModel, prefix: str, block: nn.Module, parts: Sequence[str]
) -> tuple[str, nn.Module]:
    holders = [
        (path, module)
        for path, module in block.named_modules()
        if all(isinstance(getattr(module, part, None), nn.Linear) for part in parts)
    ]
    if len(holders) != 1:
        raise UnsupportedModelError(
            f"block {prefix} of {type(model).__name__} has {len(holders)} parts with "
            f"{', '.join(parts)}, and width is cut where there is one; remove whole blocks "
            "instead: --scheme depth"
        )
    return holders[0]


def _require_stated(model: PreTrainedModel, entry: BlockUnits) -> None:
    """Check that the configuration's ``intermediate_size`` is the width of these MLPs alone."""
    stated = getattr(text_config(model), "intermediate_size", None)
    width = _linear(entry.mlp, "down_proj").in_features
    outer = entry.block.get_submodule(entry.mlp_path.partition(".")[0])
    # Next to routed experts, such as qwen2_moe's shared one, its width has another name.
    others = sum(1 for _ in outer.parameters()) - sum(1 for _ in entry.mlp.parameters())
    # Where the configuration states widths by block, those that stay may be equal.
    if others or (width != stated and not widths_of(model.config)):
        what = f"stands next to {others} other tensors" if others else f"has {width} neurons"
        raise UnsupportedModelError(
            f"{entry.prefix}.{entry.mlp_path} of {type(model).__name__} {what}, and width is cut "
            f"from an MLP whose width the configuration's intermediate_size ({stated}) states; "
            "remove whole blocks instead: --scheme depth"
        )


def _shape(entry: BlockUnits) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(p.shape) for _, p in sorted(entry.block.named_parameters()))


def _require_separable(
    model: PreTrainedModel, attention: nn.Module, heads: int, head_dim: int
) -> None:
    projections = [_linear(attention, name) for name in _ATTENTION]
    known = {id(p) for module in projections for p in module.parameters()}
    odd = [
        f"{name} {tuple(p.shape)}"
        for name, p in attention.named_parameters()
        # One norm serves the features of every head; other vectors may belong to pairs of heads.
        if id(p) not in known and not ("norm" in name and tuple(p.shape) == (head_dim,))
    ]
    rows = projections[0].weight.shape[0]
    if odd or rows != heads * head_dim:
        what = ", ".join(odd) or f"{rows} query rows for {heads} heads of {head_dim}"
        raise UnsupportedModelError(
            f"attention of {type(model).__name__} has {what}, so that no head can go alone; cut "
            "neurons only: --scheme width:parts=mlp"
        )


def _linear(module: nn.Module, name: str) -> nn.Linear:
    return cast(nn.Linear, module.get_submodule(name))


def _per_row(module: nn.Module, name: str) -> int:
    linear = _linear(module, name)
    return int(linear.weight.shape[1]) + (linear.bias is not None)


def _spread(groups: Sequence[int], width: int) -> Tensor:
    starts = torch.tensor(groups)[:, None] * width
    return (starts + torch.arange(width)).flatten()


def _keep(linear: nn.Linear, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    weight = linear.weight.detach()
    chosen = weight[rows] if rows is not None else weight[:, columns]
    linear.weight = nn.Parameter(chosen.contiguous(), linear.weight.requires_grad)
    if rows is not None and linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[rows], linear.bias.requires_grad)
    linear.out_features, linear.in_features = linear.weight.shape


def _say(module: nn.Module, **values: int) -> None:
    for name, value in values.items():
        if isinstance(getattr(module, name, None), int):
            setattr(module, name, value)
