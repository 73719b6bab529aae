"""Checkpoints in the form a GGUF file needs: named tensors in float32, and metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from autoprune.checkpoint.compact import is_compact
from autoprune.digest import digest_file
from autoprune.errors import AutopruneError, DamagedFileError, UsageError, reason_of
from autoprune.models.gguf_family import (
    Family,
    add_metadata,
    family_of,
    fitting,
    from_gguf,
    rope_factors,
    tensor_names,
    to_gguf,
)
from autoprune.models.gguf_reading import ROPE as _ROPE
from autoprune.models.gguf_reading import require_one_file
from autoprune.models.gguf_tokenizer import add_tokenizer, copy_fields
from autoprune.models.gguf_types import Floats, dequantise
from autoprune.models.loading import load_model, load_tokenizer
from autoprune.models.record import read_record
from autoprune.models.reference import ModelSource, local_path, resolve
from autoprune.models.saved_type import weight_files

_HEAD = "lm_head.weight"
# Fields that a new file sets itself, or that belong only to the old one.
_OWN = ("general.architecture", "general.file_type", "general.quantization_version")
_RECORDS = 8


class GgufSource(Protocol):
    """The source of a GGUF file.

    Args:
        source: The model.
        family: Its family.
        shapes: Shape of every tensor of the file, ``[out, in]`` for a matrix.
        blocks: Number of transformer blocks.
        tied: Whether the embedding table is also the head.
        tokenizer: Tokenizer of transformers.
        notes: What a reader should know.
        copied: Whether the tokenizer's metadata come from another GGUF file.
    """

    source: ModelSource
    family: Family
    shapes: dict[str, tuple[int, ...]]
    blocks: int
    tied: bool
    tokenizer: Any
    notes: list[str]
    copied: bool

    def read(self, name: str) -> Floats:
        """One tensor in the file's layout, float32."""

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        """Write configuration and tokenizer."""

    def model_of(self, file: Path) -> PreTrainedModel:
        """A transformers model that computes with the weights of a written file."""


def open_checkpoint(ref: str) -> GgufSource:
    """The checkpoint that a reference names."""
    source = resolve(ref)
    return _Folder(source) if source.gguf_file is None else _File(source)


class _Folder:
    """A folder of ``save_pretrained``."""

    def __init__(self, source: ModelSource) -> None:
        if is_compact(source.folder):
            raise UsageError(
                f"{source.ref} is a compact checkpoint; turn it back with `autoprune compact "
                f"{source.ref} FOLDER` and export that folder"
            )
        self.source = source
        self.family, config = _configuration(source.folder)
        self._config = config
        self.tokenizer = load_tokenizer(source)
        self.blocks = int(config.num_hidden_layers)
        self.notes: list[str] = []
        self._places, found = _index(source.folder)
        self.tied = bool(config.tie_word_embeddings) and not _own_head(self._places)
        self._names = tensor_names(found, self.blocks, self.family, self.tied)
        self.shapes = {name: found[theirs] for name, theirs in sorted(self._names.items())}
        self._rope = rope_factors(config)
        if self._rope is not None:
            self.shapes[_ROPE] = self._rope.shape
        self._tokens_of = _recorded_gguf(source.folder, self.tokenizer)
        self.copied = self._tokens_of is not None

    def read(self, name: str) -> Floats:
        if name == _ROPE and self._rope is not None:
            return self._rope
        theirs = self._names[name]
        with safe_open(self._places[theirs], framework="pt") as tensors:
            weight = tensors.get_tensor(theirs).float().numpy()
        return np.asarray(to_gguf(name, weight, self._config, self.family))

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        writer.add_type("model")
        # The snapshot folder of a hub model is named by its commit.
        place = local_path(self.source.ref)
        writer.add_name((place.resolve() if place else Path(self.source.ref)).name)
        add_metadata(writer, self._config, self.family)
        if self._tokens_of is not None:
            reader = gguf.GGUFReader(str(self._tokens_of))
            copy_fields(writer, reader, ("tokenizer.",))
            self.notes.append(
                f"the tokenizer is that of {self._tokens_of.name}, as it stands there"
            )
        else:
            add_tokenizer(writer, self.tokenizer, int(self._config.vocab_size))

    def model_of(self, file: Path) -> PreTrainedModel:
        model = load_model(self.source.ref, device="cpu").model
        own = dict(model.named_parameters())
        for tensor in gguf.GGUFReader(str(file)).tensors:
            if tensor.name == _ROPE:
                continue
            back = dequantise(tensor.data, tensor.tensor_type)
            back = np.asarray(from_gguf(tensor.name, back, self._config, self.family))
            with torch.no_grad():
                own[self._names[tensor.name]].copy_(torch.from_numpy(back.copy()))
        return model


class _File:
    """Another GGUF file: its weights are dequantised, its metadata are kept."""

    def __init__(self, source: ModelSource) -> None:
        assert source.gguf_file is not None
        self.source = source
        path = source.folder / source.gguf_file
        try:
            self._reader = gguf.GGUFReader(str(path))
            arch = str(self._reader.fields["general.architecture"].contents())
            self.family = family_of(arch)
            self.blocks = int(self._reader.fields[f"{arch}.block_count"].contents())
        except (ValueError, KeyError, IndexError, OSError) as error:
            raise DamagedFileError(
                f"{path} is not a readable GGUF file ({type(error).__name__}: {error}); get "
                "it again"
            ) from error
        require_one_file(self._reader, path.name)
        self.tokenizer = load_tokenizer(source)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.shapes = {
            name: tuple(int(size) for size in reversed(tensor.shape))
            for name, tensor in self._tensors.items()
        }
        self.tied = "output.weight" not in self.shapes
        self.notes = ["the source is a GGUF file: what its own type has rounded stays rounded"]
        self.copied = True

    def read(self, name: str) -> Floats:
        tensor = self._tensors[name]
        try:
            return dequantise(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise AutopruneError(
                f"{name} is held in {tensor.tensor_type.name}, which the gguf package does not "
                "turn back into numbers; take a file of another type"
            ) from error

    def add_metadata(self, writer: gguf.GGUFWriter) -> None:
        copy_fields(
            writer, self._reader, ("general.", f"{self.family.name}.", "tokenizer."), but=_OWN
        )

    def model_of(self, file: Path) -> PreTrainedModel:
        return load_model(str(file), device="cpu").model


def _configuration(folder: Path) -> tuple[Family, PretrainedConfig]:
    path = folder / "config.json"
    try:
        # Checked first: transformers may not know a family that we know.
        family = family_of(str(json.loads(path.read_text(encoding="utf-8")).get("model_type")))
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        return fitting(family, config, folder), config
    except AutopruneError:
        raise
    except Exception as error:
        raise DamagedFileError(
            f"{path} could not be read ({reason_of(error, named=True)}); get it again"
        ) from error


def _index(folder: Path) -> tuple[dict[str, Path], dict[str, tuple[int, ...]]]:
    """File and shape of every tensor of a folder."""
    places: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    files = weight_files(folder)
    if not files:
        raise UsageError(
            f"{folder} holds no safetensors file; open it with transformers and save it again with "
            "save_pretrained"
        )
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    places[name] = file
                    shapes[name] = tuple(tensors.get_slice(name).get_shape())
        except SafetensorError as error:
            raise DamagedFileError(f"{file} is damaged ({error}); get it again") from error
    return places, shapes


def _own_head(places: Mapping[str, Path]) -> bool:
    """Whether a checkpoint has a head of its own, whatever its configuration says."""
    table = next((name for name in places if name.endswith("embed_tokens.weight")), None)
    if _HEAD not in places or table is None:
        return False
    weights = []
    for name in (_HEAD, table):
        with safe_open(places[name], framework="pt") as tensors:
            weights.append(tensors.get_tensor(name))
    return not torch.equal(*weights)


def _recorded_gguf(folder: Path, tokenizer: Any) -> Path | None:
    """The GGUF file that a pruned folder was made from, if it is here and has the same tokens.

    transformers turns the tokenizer of a GGUF file into one that splits some texts differently, so
    the file's own metadata are the better source. A hub id is not followed: its model might have to
    be fetched, and never is a GGUF file.
    """
    for _ in range(_RECORDS):
        try:
            record = read_record(folder)
            path = local_path(str(record["model"]))
            if path is not None and path.is_dir():
                folder = path
                continue
            if path is None or digest_file(path) != record.get("model_digest"):
                return None
        except (OSError, ValueError, KeyError, TypeError, AutopruneError):
            return None
        tokens = gguf.GGUFReader(str(path)).fields["tokenizer.ggml.tokens"].contents()
        numbers = tokenizer.get_vocab()
        return path if all(numbers.get(token) == i for i, token in enumerate(tokens)) else None
    return None
