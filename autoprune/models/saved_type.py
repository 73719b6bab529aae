"""The type of saved weights: a model is computed in float32 but need not be saved in it."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.models.gguf_reading import block_type, quantisation
from autoprune.models.reference import ModelSource

# The names that `get_dtype` of a slice returns.
_HALF = {"BF16": torch.bfloat16, "F16": torch.float16}


def checkpoint_type(source: ModelSource) -> torch.dtype | None:
    """The half-precision type that a model made from a checkpoint is saved in.

    It is the type that all its matrices of numbers share; masks and codes do not count. Weights of
    a quantised GGUF file are saved in bfloat16: float16 is finer, but its range is narrow, and
    weights that a repair leaves below it would become zeros. Only headers are read; without
    safetensors files, the configuration says the type. None for float32 and for a mixture of types:
    such a model is saved as it was loaded.
    """
    if source.gguf_file is not None:
        return torch.bfloat16 if quantisation(source) else _HALF.get(block_type(source))
    kinds = matrix_types(source.folder)
    if not kinds:
        return _configured(source.folder)
    numbers = {kind for kind in kinds if kind.startswith(("F", "BF"))}
    return _HALF.get(numbers.pop()) if len(numbers) == 1 else None


def _configured(folder: Path) -> torch.dtype | None:
    """The half-precision type that a folder's configuration states."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    # Earlier versions of transformers wrote the second name.
    stated = str(config.get("dtype") or config.get("torch_dtype"))
    return next((kind for kind in _HALF.values() if str(kind) == f"torch.{stated}"), None)


def matrix_types(folder: Path) -> set[str]:
    """Types of the matrices in a folder's safetensors files, such as ``BF16``, from headers."""
    kinds: set[str] = set()
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            parts = (tensors.get_slice(name) for name in tensors.keys())  # noqa: SIM118
            kinds.update(part.get_dtype() for part in parts if len(part.get_shape()) > 1)
    return kinds


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads; others may hold the model once more."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        with suppress(ValueError, KeyError, AttributeError, TypeError):
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            files = [folder / name for name in sorted(names)]
            if files and all(file.is_file() for file in files):
                return files
    return sorted(folder.glob("*.safetensors"))


def weight_bytes(folder: Path, gguf_file: str | None = None) -> int:
    """Total bytes of a model's weight files."""
    files = [folder / gguf_file] if gguf_file else weight_files(folder)
    return sum(file.stat().st_size for file in files or folder.glob("*.bin"))


def saved_size(folder: Path) -> dict[str, Any]:
    """Bytes and type of a saved model's weights, under the names of a report's outcome."""
    kinds = "+".join(sorted(matrix_types(folder)))
    return {"saved_bytes": weight_bytes(folder), "dtype": kinds}


@contextmanager
def weights_as(model: PreTrainedModel, dtype: torch.dtype | None) -> Iterator[None]:
    """Hold the parameters in another type for a while, then restore every bit.

    Vectors (norms, biases) that would lose bits are left as they are: they are few, and a
    checkpoint that holds them in higher precision does so for a reason.
    """
    before: list[tuple[torch.nn.Parameter, Tensor]] = []
    configured = model.config.dtype
    try:
        for parameter in model.parameters():
            value = parameter.data
            kind = _saved_as(value, dtype)
            if kind != value.dtype:
                before.append((parameter, value))
                parameter.data = value.to(kind)
        yield
    finally:
        for parameter, value in before:
            parameter.data = value
        model.config.dtype = configured


def changes_as(model: PreTrainedModel, dtype: torch.dtype | None) -> bool:
    """Whether a bit of the parameters is lost in files of this type; as for :func:`weights_as`."""
    values = (parameter.detach() for parameter in model.parameters())
    return any(not torch.equal(v.to(_saved_as(v, dtype)).to(v.dtype), v) for v in values)


def bytes_as(tensors: Iterable[Tensor], dtype: torch.dtype | None) -> int:
    """Bytes of tensors in a file of this type, without its header; nothing is converted."""
    known = {tensor.data_ptr(): tensor.detach() for tensor in tensors}
    return sum(t.numel() * _saved_as(t, dtype).itemsize for t in known.values())


def _saved_as(value: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is None or not value.is_floating_point():
        return value.dtype
    keeps = value.dim() > 1 or torch.equal(value.to(dtype).to(value.dtype), value)
    return dtype if keeps else value.dtype
