"""Prune from shards to shards, one block in memory at a time."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.digest import digest_file
from autoprune.errors import AutopruneError
from autoprune.masking import joint_digest, pack_mask
from autoprune.models.reference import RECORD_FILE
from autoprune.models.saving import SavedModel, ZeroCount
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import BlockPruner, PruneFigures, layer_budgets
from autoprune.pruning.engine import same_as_sequential
from autoprune.storage import atomic_folder, write_json
from autoprune.streaming.job import OpenJob, StreamJob
from autoprune.streaming.shards import Checkpoint, ShardWriter, count_zeros
from autoprune.targets import check_apart

_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}


@dataclass(frozen=True, kw_only=True)
class StreamedModel(PruneFigures):
    """What was pruned and where it lies.

    Args:
        saved: Folder, zeros counted in the written shards, digests of the shards.
    """

    saved: SavedModel


@torch.no_grad()
def prune_streamed(
    job: StreamJob,
    target: Path,
    *,
    record: Mapping[str, Any] | None = None,
    report: Report = silent,
) -> StreamedModel:
    """Prune a checkpoint block by block into a new folder.

    The masks are those of :func:`autoprune.pruning.prune` on the loaded model, bit by
    bit. The new shards have the names, layout and types of the source; tensors that are not pruned
    are copied byte by byte, and so are configuration and tokenizer. The folder appears complete or
    not at all.

    Args:
        job: What to prune and how.
        target: Folder to write, replaced when it exists.
        record: What made the model; written to ``autoprune.json`` with the recounted zeros.
        report: Callback, called after every block.

    Raises:
        UsageError: If the job cannot be streamed, or ``target`` is the source.
        AutopruneError: If the disk is too small.
    """
    start = time.perf_counter()
    check_apart(target, [job.source])
    opened = job.open()
    check_disk(opened, target)
    pruned = opened.skeleton.sources([layer.parameter for layer in opened.skeleton.linears])
    with atomic_folder(target) as folder:
        quotas = layer_budgets(job.plan, opened.context(folder.parent, report))
        _copy_companions(opened.checkpoint, folder)
        with ShardWriter(opened.checkpoint, folder, pruned) as writer:
            digests, zeros, notes = _prune_blocks(opened, quotas, writer, folder.parent, report)
        count = ZeroCount(*count_zeros(Checkpoint(folder), pruned))
        files = {name: digest_file(folder / name) for name in opened.checkpoint.files}
        saved = SavedModel(target, count, files, sum(zeros.values()))
        write_json(folder / RECORD_FILE, {**(record or {}), "checkpoint": saved.to_json()})
    numels = {layer.name: layer.numel for layer in opened.skeleton.linears}
    return StreamedModel(
        saved=saved,
        layer_sparsity={name: zeros[name] / numel for name, numel in numels.items()},
        zeros=sum(zeros.values()),
        prunable=sum(numels.values()),
        mask_digest=joint_digest(digests),
        seconds=time.perf_counter() - start,
        notes=tuple(notes),
    )


def disk_needed(opened: OpenJob) -> int:
    """Bytes that a run writes: the new shards, and the hidden states where they go to disk."""
    return opened.checkpoint.nbytes + (opened.hidden_size if opened.offloads else 0)


def check_disk(opened: OpenJob, target: Path) -> None:
    """Refuse to start what cannot end.

    Raises:
        AutopruneError: If less disk is free than needed.
    """
    existing = next(p for p in target.absolute().parents if p.exists())
    free, needed = shutil.disk_usage(existing).free, disk_needed(opened)
    if free < needed:
        raise AutopruneError(
            f"pruning to {target} needs {needed / 1e9:.1f} GB and {existing} has {free / 1e9:.1f} "
            "GB free; nothing was written; free some space or choose another folder"
        )


def _prune_blocks(
    opened: OpenJob, quotas: Mapping[str, int], writer: ShardWriter, folder: Path, report: Report
) -> tuple[dict[str, str], dict[str, int], list[str]]:
    job, skeleton = opened.job, opened.skeleton
    digests: dict[str, str] = {}
    zeros: dict[str, int] = {}
    notes = same_as_sequential(job.plan)
    with opened.stream(job.windows, folder) as stream:
        pruner = BlockPruner(stream, job.make(quotas, opened.blocks), job.plan)
        for index in range(opened.blocks):
            with skeleton.filled_block(index):
                masks, found = pruner.prune_next(opened.members(index))
                write_block(opened, index, writer)
            for name, keep in masks.items():
                digests[name] = pack_mask(keep).digest
                zeros[name] = keep.numel() - int(keep.sum())
            notes.extend(found)
            report(Progress("pruning", index + 1, opened.blocks))
    return digests, zeros, notes


def write_block(opened: OpenJob, index: int, writer: ShardWriter) -> None:
    """Write a filled block's prunable parameters, one at a time where the layout allows it."""
    model = opened.skeleton.model
    for parameter in opened.parameters(index):
        value: Tensor = model.get_parameter(parameter)
        for name, tensor in opened.skeleton.to_checkpoint({parameter: value.detach()}).items():
            writer.write(name, tensor)


def _copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """Configuration, tokenizer and index: everything beside the weights."""
    for path in sorted(checkpoint.folder.iterdir()):
        if path.is_file() and path.suffix not in _WEIGHT_FILES and path.name != RECORD_FILE:
            shutil.copyfile(path, folder / path.name)
