"""Write a pruned model as a folder that opens again, and count its zeros there."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from autoprune.digest import digest_file
from autoprune.errors import AutopruneError
from autoprune.models.loading import make_savable
from autoprune.models.quiet import quiet_transformers
from autoprune.models.record import RECORD_FILE
from autoprune.models.saved_type import weight_files, weights_as
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.models.widths import open_causal, opened_by
from autoprune.storage import (
    atomic_folder,
    nearest_folder,
    remove_leftovers,
    write_json,
)


@dataclass(frozen=True)
class ZeroCount:
    """Zeros counted in a written checkpoint.

    Args:
        zeros: Zeros among the prunable weights.
        prunable: Number of prunable weights.
        total: Number of all parameters, tied ones counted once.
    """

    zeros: int
    prunable: int
    total: int

    @property
    def sparsity(self) -> float:
        """Share of zeros among the prunable weights."""
        return self.zeros / self.prunable if self.prunable else 0.0

    @property
    def sparsity_of_all(self) -> float:
        """The same zeros as a share of all parameters."""
        return self.zeros / self.total if self.total else 0.0

    def to_json(self) -> dict[str, Any]:
        """Counts and both shares."""
        shares = {"sparsity": self.sparsity, "sparsity_of_all": self.sparsity_of_all}
        return asdict(self) | shares

    def recount(self, pruned: int) -> str | None:
        """A sentence if more weights are zero than were pruned; None otherwise."""
        if self.zeros <= pruned:
            return None
        return (
            f"{self.sparsity:.2%} of the prunable weights are zero and {pruned / self.prunable:.2%}"
            f" were pruned: {self.zeros - pruned:,} of the weights that stay are zero too; they "
            "were before, or are too small for the type they are saved in"
        )


@dataclass(frozen=True)
class SavedModel:
    """A written checkpoint.

    Args:
        folder: Its path.
        zeros: Zeros counted in the written files.
        files: SHA-256 of each weight file.
        pruned: Weights that the masks removed; None if unknown.
        record: Content of ``autoprune.json``.
    """

    folder: Path
    zeros: ZeroCount
    files: Mapping[str, str]
    pruned: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Counts, shares, files, and ``recount``: a sentence if more is zero than was pruned."""
        recount = None if self.pruned is None else self.zeros.recount(self.pruned)
        return {**self.zeros.to_json(), "files": dict(self.files), "recount": recount}


def save_model(
    model: PreTrainedModel,
    tokenizer: Any,
    folder: Path,
    record: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    pruned: int | None = None,
    more: Mapping[str, Callable[[Path], object]] = {},
) -> SavedModel:
    """Save model, tokenizer and record; the folder appears complete or not at all."""
    require_space(model, folder, dtype)
    linears = prunable_linears(model)
    use_cache = model.config.use_cache
    make_savable(model)
    with atomic_folder(folder) as temporary, quiet_transformers():
        try:
            # Users of the folder will want to generate, so the cache is switched on in it.
            model.config.use_cache = True
            with weights_as(model, dtype):
                model.save_pretrained(temporary)
                zeros = count_zeros(temporary, linears, model)
            if tokenizer is not None:
                tokenizer.save_pretrained(temporary)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        finally:
            model.config.use_cache = use_cache
        files = {p.name: digest_file(p) for p in sorted(temporary.glob("*.safetensors"))}
        saved = SavedModel(folder, zeros, files, pruned)
        made = {**record, **opened_by(model.config), "checkpoint": saved.to_json()}
        write_json(temporary / RECORD_FILE, made)
        for name, write in more.items():
            write(temporary / name)
    return replace(saved, record=made)


def weights_in_memory(model: PreTrainedModel, linears: Iterable[PrunableLinear]) -> ZeroCount:
    """Count zeros in a model without saving it."""
    weights = [linear.read() for linear in linears]
    total = sum(parameter.numel() for parameter in model.parameters())
    return ZeroCount(sum(map(_zeros, weights)), sum(w.numel() for w in weights), total)


def count_zeros(
    folder: Path,
    linears: Sequence[PrunableLinear] | None = None,
    model: PreTrainedModel | None = None,
) -> ZeroCount:
    """Count zeros in the safetensors files of a folder.

    In some families the files have another layout than the modules (fused experts). There, the
    matrices of the model that was saved are counted if the files hold as many zeros as it does in
    all, since a second copy may not fit into memory; else the folder is opened.
    """
    files = weight_files(folder)
    if not files:
        raise AutopruneError(f"{folder} holds no safetensors file, so nothing can be counted there")
    wanted = {linear.parameter: linear for linear in linears or ()}
    numbers: dict[str, int] = {}
    total = zeros = 0
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                tensor = tensors.get_tensor(name)
                total += tensor.numel()
                found = _zeros(tensor)
                zeros += found
                if name in wanted:
                    numbers[name] = found
    if linears is not None and len(numbers) == len(wanted):
        prunable = sum(linear.numel for linear in linears)
        return ZeroCount(sum(numbers.values()), prunable, total)
    if model is not None and linears is not None:
        memory = weights_in_memory(model, linears)
        if (memory.total, sum(map(_zeros, model.parameters()))) == (total, zeros):
            return memory
    return _count_by_opening(folder, total)


def _count_by_opening(folder: Path, total: int) -> ZeroCount:
    with quiet_transformers():
        model = open_causal(folder, dtype="auto", trust_remote_code=False)
    zeros = prunable = 0
    for linear in prunable_linears(model):
        zeros += _zeros(linear.read())
        prunable += linear.numel
    return ZeroCount(zeros, prunable, total)


def _zeros(tensor: torch.Tensor) -> int:
    return tensor.numel() - int(torch.count_nonzero(tensor))


def require_space(
    model: PreTrainedModel, folder: Path, dtype: torch.dtype | None = None, gone: float = 0.0
) -> None:
    """Check that a model's weights fit on the disk, after removing what killed saves left there."""
    remove_leftovers(folder)
    size = None if dtype is None else dtype.itemsize
    whole = sum(p.numel() * (size or p.element_size()) for p in model.parameters())
    needed = (1.0 - gone) * whole
    # A link's target is what is written.
    existing = nearest_folder(folder.resolve().parent)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise AutopruneError(
            f"saving to {folder} needs {needed / 1e6:.0f} MB and {existing} has {free / 1e6:.0f} "
            "MB free; nothing was written; free some space or choose another folder"
        )
