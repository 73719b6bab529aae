"""Load a causal language model for pruning: eval mode, no cache, savable, silent."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from autoprune.checkpoint.compact import is_compact
from autoprune.errors import (
    AutopruneError,
    DamagedFileError,
    PrerequisiteError,
    UsageError,
    reason_of,
)
from autoprune.models.device import default_device
from autoprune.models.gguf_reading import options_of, require_all_read, shared_gguf_parsing
from autoprune.models.quiet import quiet_transformers
from autoprune.models.reference import ModelSource, resolve
from autoprune.models.widths import open_causal

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")
# What torch's allocators say where they raise no error of their own.
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
_QUANTISATION_MARKS = ("hf_quantizer", "is_quantized", "quantization_method")


@dataclass
class LoadedModel:
    """A model that is ready to be measured, pruned and saved.

    Args:
        model: In eval mode, ``use_cache`` off.
        tokenizer: The tokenizer that came with it.
        source: Where it came from.
        changes: What was done to its weights since it was loaded, in order: the recipe or scheme
            with its budget, and the windows ``[n, seqlen]`` that it read.
    """

    model: PreTrainedModel
    tokenizer: Any
    source: ModelSource
    changes: list[tuple[str, torch.Tensor | None]] = field(default_factory=list, repr=False)


def load_model(
    ref: str, *, dtype: torch.dtype = torch.float32, device: str | None = None
) -> LoadedModel:
    """Load the model and tokenizer that ``ref`` names."""
    source = resolve(ref)
    if source.gguf_file is None and is_compact(source.folder):
        raise UsageError(
            f"{ref} is a compact checkpoint, which stores and does not compute; turn it back with "
            f"`autoprune compact {ref} FOLDER` and name that folder"
        )
    with quiet_transformers(), shared_gguf_parsing():
        try:
            more = {} if source.gguf_file is None else options_of(source)
            model = open_causal(str(source.folder), dtype=dtype, **_options(source), **more)
            if source.gguf_file is not None:
                require_all_read(source, model)
        except (DamagedFileError, UsageError):
            raise
        except Exception as error:
            raise _load_error(source, error) from error
        # In the same block, so that a GGUF file is parsed once for both.
        tokenizer = _open_tokenizer(source)
    _require_floats(source, model)
    make_savable(model)
    try:
        model.to(device or default_device())
    except RuntimeError as error:
        if not _is_lack_of_memory(error):
            raise
        raise _too_large(_place(source), error) from error
    return LoadedModel(model.eval(), tokenizer, source)


def load_tokenizer(source: ModelSource) -> Any:
    """The tokenizer alone, for a model whose weights are streamed."""
    with quiet_transformers(), shared_gguf_parsing():
        return _open_tokenizer(source)


def _open_tokenizer(source: ModelSource) -> Any:
    try:
        found = AutoTokenizer.from_pretrained(str(source.folder), **_options(source))
    except Exception as error:
        failure = _load_error(source, error)
        if isinstance(failure, DamagedFileError):
            _require_tokenizer(source, _TOKENIZERS)
        raise failure from error
    # A tokenizer of bytes or characters has no file.
    if found.vocab_files_names:
        _require_tokenizer(source, {*_TOKENIZERS, *found.vocab_files_names.values()})
    return found


def _require_tokenizer(source: ModelSource, names: Collection[str]) -> None:
    if source.gguf_file is None and not any((source.folder / n).is_file() for n in names):
        raise UsageError(
            f"{source.folder} holds no tokenizer ({', '.join(sorted(_TOKENIZERS))}); save that of "
            "the model there with tokenizer.save_pretrained(FOLDER)"
        )


def _require_floats(source: ModelSource, model: PreTrainedModel) -> None:
    """Refuse a model whose matrices transformers left quantised."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and parameter.dtype not in _FLOATS:
            raise UsageError(
                f"{source.ref} is quantised ({name} is {parameter.dtype} in memory), and pruning "
                "would take its codes for weights; convert it to bfloat16 first, or name the "
                "checkpoint that it was made from"
            )


def _options(source: ModelSource) -> dict[str, Any]:
    """Options for transformers: never run Python that came with the model, and never ask.

    Without them, transformers asks on the terminal and runs that code if the answer is yes.
    """
    options: dict[str, Any] = {"trust_remote_code": False}
    return options if source.gguf_file is None else options | {"gguf_file": source.gguf_file}


def make_savable(model: PreTrainedModel) -> None:
    """Remove what a quantised source leaves on a dequantised model.

    ``save_pretrained`` refuses a model with these marks, and with them in its configuration the
    saved folder would load as quantised. The cache is switched off, since pruning never generates.
    """
    for mark in _QUANTISATION_MARKS:
        if mark in vars(model):
            delattr(model, mark)
    for mark in ("quantization_config", "_is_quantized", "_model_name_or_path"):
        vars(model.config).pop(mark, None)
    model.config.use_cache = False


def needs_own_code(error: Exception) -> bool:
    """Whether transformers refused a model because it needs code that came with the model."""
    return isinstance(error, ValueError) and "trust_remote_code" in str(error)


def own_code_error(where: Path) -> AutopruneError:
    """The error to raise for such a model."""
    return AutopruneError(
        f"{where} is opened by Python code of its own only, and code that comes with a model is "
        "never run here; take a model of an architecture that transformers has built in, such as "
        "a conversion of this one, or a newer transformers that has it"
    )


def _place(source: ModelSource) -> Path:
    return source.folder / source.gguf_file if source.gguf_file else source.folder


def _is_lack_of_memory(error: Exception) -> bool:
    lack = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return lack or _NO_MEMORY.search(str(error)) is not None


def _too_large(where: Path, error: Exception) -> AutopruneError:
    return AutopruneError(
        f"{where} does not fit into the memory ({reason_of(error, 300, first_line=True)}); take "
        "--dtype bfloat16, --device cpu or a smaller model; `autoprune prune --stream` holds one "
        "block at a time"
    )


def _load_error(source: ModelSource, error: Exception) -> AutopruneError:
    reason = reason_of(error, 300, first_line=True)
    where = _place(source)
    if needs_own_code(error):
        return own_code_error(where)
    if _is_lack_of_memory(error):
        return _too_large(where, error)
    unknown = ("nrecognized", "does not recognize")
    if isinstance(error, ValueError) and any(words in reason for words in unknown):
        return AutopruneError(
            f"{where} is of an architecture that transformers cannot open as a causal language "
            f"model ({reason}); take another model or a newer transformers"
        )
    if isinstance(error, ImportError):
        return PrerequisiteError(
            f"{where} needs a Python package that is not installed ({reason}); install it and "
            "repeat the command"
        )
    if source.gguf_file is None and not any(
        path.suffix in {".safetensors", ".bin"} for path in source.folder.iterdir()
    ):
        return UsageError(
            f"{source.ref} has no weights in safetensors or pytorch_model.bin files ({where}); "
            "take a model that has"
        )
    return DamagedFileError(
        f"{where} could not be loaded ({reason_of(error, 300, named=True, first_line=True)}); "
        "the file may be damaged or incomplete: get it again and repeat the command"
    )
