"""Take blocks out of a model, temporarily or for good, and adapt configuration and numbering."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UnsupportedModelError, UsageError, reason_of
from autoprune.models.quiet import quiet_transformers
from autoprune.models.structure import find_blocks, text_config
from autoprune.models.widths import WIDTHS, narrow_blocks

# Lists of block numbers, and a count of leading blocks of another kind.
_NUMBERS = ("mlp_only_layers", "moe_layers")
_LEADING = "first_k_dense_replace"
# Attributes of modules that hold the number of their block.
_OWN_NUMBERS = ("layer_idx", "layer_id")


def block_parameters(model: PreTrainedModel) -> list[int]:
    """Number of parameters of each block."""
    return [sum(p.numel() for p in block.parameters()) for block in find_blocks(model)]


def remove_blocks(model: PreTrainedModel, numbers: Sequence[int]) -> None:
    """Take blocks out for good: shorten list and configuration, renumber caches.

    Args:
        model: Changed in place.
        numbers: Numbers of the blocks to remove.

    Raises:
        UsageError: If no block would stay, or a number does not exist.
        UnsupportedModelError: If stock transformers would build another model from the
            configuration; the model is then left unchanged.
    """
    undo = _take_out(model, numbers)
    try:
        require_reopens(model)
    except BaseException:
        # Ctrl-C too.
        undo()
        raise


def require_removable(model: PreTrainedModel, numbers: Sequence[int]) -> None:
    """Raise what :func:`remove_blocks` would raise, with the model as it is before and after."""
    if numbers:
        with without_blocks(model, numbers):
            require_reopens(model)


@contextmanager
def without_blocks(model: PreTrainedModel, numbers: Sequence[int]) -> Iterator[None]:
    """Leave out these blocks inside the context; no weight is copied."""
    undo = _take_out(model, numbers)
    try:
        yield
    finally:
        undo()


@contextmanager
def written(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Set some parameters inside the context; restore them bit for bit afterwards."""
    parameters = dict(model.named_parameters())
    before = {name: parameters[name].detach().clone() for name in weights}
    try:
        _write(model, weights)
        yield
    finally:
        _write(model, before)


def replace_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Give parameters new tensors by name; a model that shares the old ones keeps them."""
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        parameter = parameters[name]
        parameter.data = value.to(parameter, copy=True)


@torch.no_grad()
def _write(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Write parameters by name."""
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(value)


def require_reopens(model: PreTrainedModel) -> None:
    """Check that the model's configuration builds the same model when its folder is opened.

    Stock transformers builds it, or our loader where the configuration states widths by block.
    Compared are the shapes of all tensors, and the numbers that modules hold besides.

    Raises:
        UnsupportedModelError: If not; names the first tensor or number that differs.
    """
    config = copy.deepcopy(model.config)
    try:
        config.validate()
        twin = on_meta(model)
    except (StrictDataclassError, ValueError) as error:
        raise UnsupportedModelError(
            f"{type(config).__name__} refuses this shape: {reason_of(error)}; take another share"
        ) from error
    built = {name: tuple(value.shape) for name, value in twin.state_dict().items()}
    have = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in sorted(built.keys() | have.keys()):
        if built.get(name) != have.get(name):
            raise UnsupportedModelError(
                f"the configuration of {type(model).__name__} cannot say this shape: {name} is "
                f"{have.get(name, 'absent')} here and {built.get(name, 'absent')} where stock "
                "transformers opens it; this family cannot be made smaller so"
            )
    _require_constants(model, twin)


def on_meta(model: PreTrainedModel) -> PreTrainedModel:
    """What the model's configuration builds, without weights."""
    with quiet_transformers(), torch.device("meta"):
        twin = type(model)._from_config(copy.deepcopy(model.config))
        narrow_blocks(twin)
    return twin


def _require_constants(model: PreTrainedModel, twin: PreTrainedModel) -> None:
    """Check the numbers that modules computed when they were made: no file holds them."""
    others = dict(twin.named_modules())
    for path, module in model.named_modules():
        built = vars(others[path]) if path in others else {}
        for name, here in vars(module).items():
            there = built.get(name)
            if isinstance(here, float) and isinstance(there, float) and here != there:
                raise UnsupportedModelError(
                    f"{path}.{name} of {type(model).__name__} is {here:g} here and {there:g} where "
                    "stock transformers opens it: it is computed from the number of its block, so "
                    "that blocks of this model cannot be removed"
                )


def _take_out(model: PreTrainedModel, numbers: Sequence[int]) -> Any:
    blocks = find_blocks(model)
    everything = list(blocks)
    gone = set(numbers)
    if not gone <= set(range(len(everything))) or len(gone) == len(everything):
        raise UsageError(
            f"blocks {sorted(gone)} cannot go from a model of {len(everything)}: they are numbered "
            f"0 to {len(everything) - 1}, and one has to stay"
        )
    kept = [number for number in range(len(everything)) if number not in gone]
    config = text_config(model)
    if own := getattr(config, "per_layer_attributes", None):
        # Its settings are kept by the numbers of blocks, and transformers cannot move them.
        raise UnsupportedModelError(
            f"{type(model).__name__} has settings of single blocks ({', '.join(sorted(own))}), so "
            "that its blocks cannot be removed; set weights to zero instead, by --sparsity without "
            "--scheme"
        )
    after = _shorter(config, kept, len(everything))
    before = {name: getattr(config, name) for name in after}
    # The cache finds keys and values of a block by its number.
    numbered = {
        id(block): [
            (module, name)
            for module in block.modules()
            for name in _OWN_NUMBERS
            if type(getattr(module, name, None)) is int and getattr(module, name) == number
        ]
        for number, block in enumerate(everything)
    }

    def arrange(chosen: Sequence[nn.Module], values: Mapping[str, Any]) -> None:
        del blocks[:]
        blocks.extend(chosen)
        for name, value in values.items():
            if value is None and name == WIDTHS:
                delattr(config, name)
            else:
                setattr(config, name, value)
        for number, block in enumerate(chosen):
            for module, name in numbered[id(block)]:
                module.__dict__[name] = number

    arrange([everything[number] for number in kept], after)
    return lambda: arrange(everything, before)


def _shorter(config: Any, kept: Sequence[int], count: int) -> dict[str, Any]:
    """Values of a configuration that name, number or count blocks."""
    found: dict[str, Any] = {"num_hidden_layers": len(kept)}
    for name in config.to_dict():
        value = getattr(config, name, None)
        if name in _NUMBERS and value:
            found[name] = [kept.index(number) for number in value if number in kept]
        elif isinstance(value, list | tuple) and "layer" in name and len(value) == count:
            found[name] = [value[number] for number in kept]
    widths = set(found.get(WIDTHS, ()))
    if len(widths) == 1:
        # The blocks that differed are gone, and stock transformers opens one width.
        found |= {WIDTHS: None, "intermediate_size": widths.pop()}
    leading = getattr(config, _LEADING, None)
    if isinstance(leading, int):
        found[_LEADING] = sum(number < leading for number in kept)
    return found
