"""The hidden size: find what reads and writes hidden states, project them or cut them.

A model's hidden states are rotated to the orthonormal directions ``Q [d, k]``, the same for all
blocks, and only these ``k`` coordinates are kept. Writers (embedding, o, down) produce coordinates
and readers (q, k, v, gate, up, head) take them. The gains of the norms move into the readers, since
a rotation does not commute with them (SliceGPT, arXiv 2401.15024). An RMSNorm then averages over
``k`` coordinates instead of ``d``. Coordinates are therefore scaled by ``sqrt(k / d)``, which keeps
the mean square of the full width and the weight of epsilon, and each norm's gain is
``sqrt(d / k)``, which undoes the factor.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UnsupportedModelError
from autoprune.models.structure import find_blocks, text_config
from autoprune.precision import in_float64, where_float64_is
from autoprune.schemes.surgery import require_reopens, written

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
_WRITERS = ("self_attn.o_proj", "mlp.down_proj")
# Runtimes are slow with sizes that are not a multiple of it.
USUAL_MULTIPLE = 8
# Rows of an embedding to multiply in double precision at once.
_ROWS = 8192


@dataclass(frozen=True)
class HiddenParts:
    """Modules that write and read hidden states.

    Args:
        size: Features of a hidden state.
        embedding: Writes the first hidden state.
        head: Reads the last hidden state, after the last norm.
        readers: Every norm with the matrices that read its output; the last norm with the head.
        writers: Matrices whose output is added to hidden states.
        tied: Whether head and embedding share weights.
    """

    size: int
    embedding: nn.Embedding = field(repr=False)
    head: nn.Linear = field(repr=False)
    readers: tuple[tuple[nn.Module, tuple[nn.Linear, ...]], ...] = field(repr=False)
    writers: tuple[nn.Linear, ...] = field(repr=False)
    tied: bool

    @property
    def unties(self) -> bool:
        """Whether a tied head must be untied: the last norm's gains differ and move into it."""
        gains = _gains(self.readers[-1][0])
        return self.tied and not bool((gains == gains[0]).all())

    def per_feature(self) -> int:
        """Block parameters per feature."""
        readers = sum(
            1 + sum(m.out_features for m in matrices) for _, matrices in self.readers[:-1]
        )
        return readers + sum(m.in_features + (m.bias is not None) for m in self.writers)

    def lost(self, size: int) -> int:
        """Parameters that the model loses at this hidden size."""
        inside = (self.size - size) * self.per_feature()
        return inside + self.outside(self.size) - self.outside(size)

    def outside(self, size: int) -> int:
        """Parameters outside the blocks at this hidden size; at the full size, as they are now."""
        tables = 1 if self.tied and (size == self.size or not self.unties) else 2
        return size * (1 + tables * self.embedding.num_embeddings)


def hidden_parts(model: PreTrainedModel) -> HiddenParts:
    """Find the modules that write and read hidden states.

    Raises:
        UnsupportedModelError: If the family is not one of :data:`FAMILIES`.
    """
    config = text_config(model)
    if config.model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"hidden states of {type(model).__name__} ({config.model_type}) cannot be rotated: the "
            f"families whose readers, writers and norms are known are {', '.join(FAMILIES)}; "
            "remove neurons or whole blocks instead: --scheme width or --scheme depth"
        )
    embedding = cast(nn.Embedding, model.get_input_embeddings())
    head = cast(nn.Linear, model.get_output_embeddings())
    readers: list[tuple[nn.Module, tuple[nn.Linear, ...]]] = []
    writers: list[nn.Linear] = []
    for block in find_blocks(model):
        for norm, names in _READERS.items():
            matrices = tuple(cast(nn.Linear, block.get_submodule(name)) for name in names)
            readers.append((block.get_submodule(norm), matrices))
        writers += [cast(nn.Linear, block.get_submodule(name)) for name in _WRITERS]
    readers.append((model.base_model.get_submodule("norm"), (head,)))
    return HiddenParts(
        config.hidden_size,
        embedding,
        head,
        tuple(readers),
        tuple(writers),
        head.weight is embedding.weight,
    )


def hidden_sizes(model: PreTrainedModel, multiple: int | None = None) -> list[int]:
    """Smaller hidden sizes that the family's configuration allows, descending.

    Args:
        model: Of one of :data:`FAMILIES`.
        multiple: Divisor; None means :data:`USUAL_MULTIPLE` if the configuration takes any size.
    """
    config = copy.deepcopy(text_config(model))
    whole = config.hidden_size
    found = []
    for size in range(whole - 1, 0, -1):
        config.hidden_size = size
        try:
            config.validate()
        except (StrictDataclassError, ValueError):
            # Llama's requires the number of heads to divide it.
            continue
        found.append(size)
    if multiple is None:
        multiple = USUAL_MULTIPLE if len(found) == whole - 1 else 1
    return [size for size in found if size % multiple == 0]


@contextmanager
def projected(model: PreTrainedModel, directions: Tensor | None) -> Iterator[None]:
    """Project hidden states onto these directions inside the context, in the model's full shapes.

    Args:
        model: Of one of :data:`FAMILIES`.
        directions: Orthonormal columns, float64 [d, k]; None: all.
    """
    if directions is None:
        yield
        return
    parts = hidden_parts(model)
    onto = directions @ directions.T
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weights = {names[id(m.weight)]: _turned(m.weight, left=onto) for m in parts.writers}
    for bias in (m.bias for m in parts.writers if m.bias is not None):
        weights[names[id(bias)]] = _turned(bias, right=onto)
    # The table itself is unchanged, since a tied head reads it.
    handle = parts.embedding.register_forward_hook(lambda _, __, out: _turned(out, right=onto))
    try:
        with written(model, weights):
            yield
    finally:
        handle.remove()


@torch.no_grad()
def slice_hidden(model: PreTrainedModel, directions: Tensor | None) -> None:
    """Keep only the coordinates in these directions, in place, and adapt the configuration.

    Args:
        model: Changed in place.
        directions: Orthonormal columns, float64 [d, k]; None changes nothing.

    Raises:
        UnsupportedModelError: If stock transformers would build another model from the
            configuration.
    """
    if directions is None:
        return
    parts = hidden_parts(model)
    whole, size = directions.shape
    factor = (size / whole) ** 0.5
    stays_tied = parts.tied and not parts.unties
    for norm, matrices in parts.readers:
        gains = _gains(norm)
        keeps = stays_tied and matrices == (parts.head,)
        for matrix in matrices:
            if not keeps:
                _set(matrix, "weight", _turned(matrix.weight, right=gains[:, None] * directions))
        # The rows of a tied head contain the writers' factor.
        gain = float(gains[0]) / factor**2 if keeps else 1.0 / factor
        _set(norm, "weight", cast(Tensor, norm.weight).new_full((size,), gain))
    for matrix in parts.writers:
        _set(matrix, "weight", _turned(matrix.weight, left=factor * directions.T))
        if matrix.bias is not None:
            _set(matrix, "bias", _turned(matrix.bias, right=factor * directions))
    _set(parts.embedding, "weight", _turned(parts.embedding.weight, right=factor * directions))
    if stays_tied:
        parts.head.weight = parts.embedding.weight
    parts.embedding.embedding_dim = size
    for matrix in (*parts.writers, *(m for _, matrices in parts.readers for m in matrices)):
        matrix.out_features, matrix.in_features = matrix.weight.shape
    for module in model.modules():
        if isinstance(module.__dict__.get("hidden_size"), int):
            module.__dict__["hidden_size"] = size
    config: Any = text_config(model)
    keys = cast(nn.Linear, find_blocks(model)[0].get_submodule("self_attn.k_proj"))
    # Otherwise it would be derived from the hidden size.
    config.head_dim = keys.out_features // config.num_key_value_heads
    config.hidden_size = size
    if parts.tied and not stays_tied:
        config.tie_word_embeddings = False
        model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    require_reopens(model)


def _gains(norm: nn.Module) -> Tensor:
    return cast(Tensor, norm.weight).detach().cpu().double()


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    before: nn.Parameter = getattr(module, name)
    setattr(module, name, nn.Parameter(value.contiguous(), before.requires_grad))


def _turned(value: Tensor, *, left: Tensor | None = None, right: Tensor | None = None) -> Tensor:
    """A product in double precision, rounded once to the value's own type."""
    value = value.detach()
    if left is not None:
        double = in_float64(value)
        return (left.to(double.device) @ double).to(value)
    assert right is not None
    right = right.to(where_float64_is(value[:0]).device)
    if value.ndim < 2:
        return (in_float64(value) @ right).to(value)
    parts = torch.split(value, _ROWS)
    return torch.cat([(in_float64(part) @ right).to(value) for part in parts])
