"""What transformers makes of a GGUF file: read once, not three times, and nothing left out.

It parses the whole file for the configuration, for the weights and for the tokenizer, each time a
second or more for a vocabulary of 50 000 entries, and builds the table of tensor names once per
module. Measured on SmolLM2-135M with two cores: 12.6 seconds without this module, 4 with it.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from torch import nn

from autoprune.errors import UsageError
from autoprune.models.gguf_family import llama3_factors

if TYPE_CHECKING:
    from autoprune.models.reference import ModelSource

ROPE = "rope_freqs.weight"
# Contexts that models were trained on before Llama 3's scaling; the file holds its result alone.
_CONTEXTS = tuple(2**power for power in range(6, 18))

# Types that hold weights as they are; the others hold codes and scales of blocks of weights.
_PLAIN = frozenset({"F64", "F32", "F16", "BF16"})


class _ArrayReader(gguf.GGUFReader):  # type: ignore[misc]  # the package is not typed
    """Holds the mapped file as a plain array: slicing a memmap costs ten times a plain slice."""

    @property
    def data(self) -> Any:
        return self._data

    @data.setter
    def data(self, mapped: Any) -> None:
        # A view keeps the mapping alive and reads nothing.
        self._data = mapped.view(np.ndarray)


@contextmanager
def shared_gguf_parsing() -> Iterator[None]:
    """Let all GGUF readers opened inside the block share one parse per file."""
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = lru_cache(maxsize=1)(_ArrayReader)
    gguf.get_tensor_name_map = lru_cache(maxsize=1)(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def quantisation(source: "ModelSource") -> str:
    """Type that most weights of a GGUF file are quantised to, such as ``Q4_1``.

    Empty for a file of plain floating-point weights and for a folder. Loaded weights are
    dequantised: they are on the grid that this type allows.
    """
    kind = block_type(source)
    return "" if kind in _PLAIN else kind


def block_type(source: "ModelSource") -> str:
    """Type that most weights of a GGUF file's blocks have, such as ``Q4_1`` or ``F16``.

    Empty for a folder, and for a file without blocks.
    """
    if source.gguf_file is None:
        return ""
    reader = _ArrayReader(str(source.folder / source.gguf_file))
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        # Matrices of the blocks: embeddings and norms often have another type.
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    most = sizes.most_common(1)
    return most[0][0] if most else ""


def options_of(source: "ModelSource") -> dict[str, Any]:
    """Options for the model in a GGUF file: what transformers does not read there itself."""
    assert source.gguf_file is not None
    reader = gguf.GGUFReader(str(source.folder / source.gguf_file))
    require_one_file(reader, source.gguf_file)
    rope = _positions(reader, source.gguf_file)
    return {} if rope is None else {"rope_parameters": rope}


def require_one_file(reader: Any, name: str) -> None:
    """Refuse a file that holds a part of a model."""
    if _value(reader, "split.count", 1) > 1:
        raise UsageError(
            f"{name} is one part of a model in several files; join them with "
            "`llama-gguf-split --merge` and name the result"
        )


def require_all_read(source: "ModelSource", model: nn.Module) -> None:
    """Refuse a model that lacks a bias of its GGUF file: transformers drops some in silence."""
    assert source.gguf_file is not None
    reader = gguf.GGUFReader(str(source.folder / source.gguf_file))
    there = [tensor.name for tensor in reader.tensors if tensor.name.endswith(".bias")]
    taken = sum(name.endswith("bias") for name, _ in model.named_parameters())
    if len(there) > taken:
        raise UsageError(
            f"{source.gguf_file} has {len(there)} biases, {there[0]} first, of which transformers "
            f"reads {taken}, so another model would be measured; name the folder that the file "
            "was made from"
        )


def _positions(reader: Any, name: str) -> dict[str, Any] | None:
    """How a file scales rotary positions, as in a configuration; None: not at all."""
    arch = _value(reader, "general.architecture", "")
    theta = float(_value(reader, f"{arch}.rope.freq_base", 10000.0))
    factors = next((tensor.data for tensor in reader.tensors if tensor.name == ROPE), None)
    kind = str(_value(reader, f"{arch}.rope.scaling.type", "none"))
    if factors is not None and not np.all(factors == 1.0):
        if kind == "none" and (rope := _llama3(np.asarray(factors), theta)) is not None:
            return rope
        kind = "factors of its own" if kind == "none" else kind
    elif kind == "none":
        return None
    elif kind == "linear":
        factor = float(_value(reader, f"{arch}.rope.scaling.factor", 1.0))
        return {"rope_type": "linear", "rope_theta": theta, "factor": factor}
    raise UsageError(
        f"{name} scales positions ({kind}), which transformers does not read from a GGUF file, so "
        "another model would be measured; name the folder that the file was made from"
    )


def _llama3(factors: Any, theta: float) -> dict[str, Any] | None:
    """The settings that give these factors, as Llama 3 has them; None if there are none."""
    for context in _CONTEXTS:
        rope = {
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": float(factors.max()),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": context,
        }
        if np.allclose(llama3_factors(rope, 2 * factors.size), factors, rtol=1e-5):
            return rope
    return None


def _value(reader: Any, key: str, otherwise: Any) -> Any:
    field = reader.fields.get(key)
    return otherwise if field is None else field.contents()
