"""Save a model as it stands, with the text that it has seen."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import IMAGE_PROCESSOR_NAME, PROCESSOR_NAME, VIDEO_PROCESSOR_NAME

from autoprune.bench.model import ModelBench
from autoprune.bench.seen import seen_by
from autoprune.errors import UsageError
from autoprune.models.gguf_reading import quantisation
from autoprune.models.loading import LoadedModel
from autoprune.models.saved_type import changes_as, checkpoint_type
from autoprune.models.saving import SavedModel, require_space, save_model
from autoprune.precision import type_name
from autoprune.storage import read_object
from autoprune.text.seen_text import FILE as SEEN_FILE
from autoprune.text.seen_text import SeenText

AUTO = "auto"
# Of a configuration: what models have that read images or sound.
_OTHER_PARTS = ("vision_config", "audio_config")
# What models that read images or sound need beside a tokenizer.
_PROCESSOR_FILES = (IMAGE_PROCESSOR_NAME, VIDEO_PROCESSOR_NAME, PROCESSOR_NAME)


def saved_type(bench: ModelBench, dtype: str) -> torch.dtype | None:
    """Return the type of a bench's weights in files; None: as in memory."""
    if dtype != AUTO:
        found: torch.dtype = getattr(torch, dtype)
        return None if dtype == bench.dtype else found
    return checkpoint_type(bench.loaded.source)


def measured_in(bench: ModelBench, kind: torch.dtype | None) -> str:
    """The type of the weights that figures are of; empty if files of this type hold every bit."""
    return bench.dtype if changes_as(bench.loaded.model, kind) else ""


def rounding_note(bench: ModelBench, dtype: str) -> str:
    """Say that dequantised weights are rounded on saving; empty if they are not."""
    quantised = quantisation(bench.loaded.source)
    kind = saved_type(bench, dtype)
    if dtype != AUTO or not quantised or kind is None:
        return ""
    return (
        f"the source is quantised to {quantised}; what is computed from it in {bench.dtype} is "
        f"saved in {type_name(kind)}, in half the bytes; --dtype {bench.dtype} saves every bit"
    )


def require_savable(
    loaded: LoadedModel, folder: Path, dtype: torch.dtype | None = None, gone: float = 0.0
) -> None:
    """Refuse, before the work, what could not be saved whole."""
    _require_whole(loaded)
    require_space(loaded.model, folder, dtype, gone)


def save_bench(
    bench: ModelBench,
    folder: Path,
    record: Mapping[str, Any],
    pruned: int | None = None,
    dtype: torch.dtype | None = None,
) -> SavedModel:
    """Save a bench's model as it stands; see :func:`save_seen`."""
    return save_seen(bench.loaded, seen_by(bench), folder, record, pruned, dtype)


def save_seen(
    loaded: LoadedModel,
    seen: SeenText | None,
    folder: Path,
    record: Mapping[str, Any],
    pruned: int | None = None,
    dtype: torch.dtype | None = None,
) -> SavedModel:
    """Save a model with its processor's settings and the fingerprint of its text."""
    _require_whole(loaded)
    more: dict[str, Callable[[Path], object]] = {} if seen is None else {SEEN_FILE: seen.save}
    # A GGUF file may lie beside another model's files.
    if loaded.source.gguf_file is None:
        files = [loaded.source.folder / name for name in _PROCESSOR_FILES]
        more |= {file.name: partial(shutil.copyfile, file) for file in files if file.is_file()}
    return save_model(
        loaded.model, loaded.tokenizer, folder, record, dtype=dtype, pruned=pruned, more=more
    )


def _require_whole(loaded: LoadedModel) -> None:
    config = loaded.source.folder / "config.json"
    if loaded.source.gguf_file is None and config.is_file():
        stated, opened = read_object(config), loaded.model.config
        lost = [part for part in _OTHER_PARTS if stated.get(part) and not hasattr(opened, part)]
        if lost:
            raise UsageError(
                f"{loaded.source.ref} reads more than text ({', '.join(lost)} in its config.json), "
                "and transformers opens its language model alone, so that the rest would be lost; "
                "prune it by a recipe with --stream, which keeps every other tensor"
            )
