"""Prune from shards to shards, one block in memory at a time."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils import CHAT_TEMPLATE_DIR

from autoprune.bench.programs import rejecting_overflow
from autoprune.digest import digest_file
from autoprune.errors import AutopruneError
from autoprune.masking import joint_digest, pack_mask
from autoprune.models.record import RECORD_FILE
from autoprune.models.reference import CARD_FILE
from autoprune.models.saving import SavedModel, ZeroCount
from autoprune.models.widths import opened_by
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import BlockPruner, PruneFigures, layer_budgets
from autoprune.pruning.engine import same_as_sequential
from autoprune.storage import nearest_folder, write_json
from autoprune.streaming.job import OpenJob, StreamJob
from autoprune.streaming.shards import (
    INDEX_FILE,
    SINGLE_FILE,
    Checkpoint,
    ShardWriter,
    count_zeros,
)
from autoprune.streaming.unfinished import DoneBlock, Unfinished, partial_folder, unfinished
from autoprune.targets import check_apart
from autoprune.text.seen_text import FILE as SEEN_FILE
from autoprune.text.seen_text import SeenText

_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"}


@dataclass(frozen=True, kw_only=True)
class StreamedModel(PruneFigures):
    """Figures of a streamed run and where its model is saved.

    Args:
        saved: Folder, zeros counted in the written shards, digests of the shards.
        resumed: Number of blocks taken over from an interrupted run.
    """

    saved: SavedModel
    resumed: int = 0


@torch.no_grad()
def prune_streamed(
    job: StreamJob,
    target: Path,
    *,
    record: Mapping[str, Any] | None = None,
    seen: SeenText | None = None,
    report: Report = silent,
) -> StreamedModel:
    """Prune a checkpoint block by block into a new folder.

    Masks and weights are bit-identical to those of :func:`autoprune.pruning.prune` on the loaded
    model. The new shards have the names, layout and types of the source; tensors that are not
    pruned are copied byte by byte, as are configuration and tokenizer. The folder appears complete
    or not at all. Until then, everything is in ``TARGET.partial``. A killed run resumes at its
    current block when started again, and produces the same bytes.
    """
    start = time.perf_counter()
    check_apart(target, [job.source])
    opened = job.open()
    check_disk(opened, target)
    pruned = opened.skeleton.sources([layer.parameter for layer in opened.skeleton.linears])
    with unfinished(target, opened.key, opened.skeleton.device) as work:
        if work.quotas is None:
            work.quotas = layer_budgets(opened.job.plan, opened.context(work.folder, report))
            work.keep()
        resumed = len(work.blocks)
        done = {name for block in work.blocks for name in block.tensors}
        _copy_companions(opened.checkpoint, work)
        with ShardWriter(opened.checkpoint, work.model, pruned, done) as writer:
            notes = _prune_blocks(opened, work, writer, report)
        masks = {name: value for block in work.blocks for name, value in block.masks.items()}
        mask_digest = joint_digest(masks)
        zeros = {name: value for block in work.blocks for name, value in block.zeros.items()}
        count = ZeroCount(*count_zeros(Checkpoint(work.model), pruned))
        files = {name: digest_file(work.model / name) for name in opened.checkpoint.files}
        saved = SavedModel(target, count, files, sum(zeros.values()))
        numels = {layer.name: layer.numel for layer in opened.skeleton.linears}
        shares = {name: zeros[name] / numel for name, numel in numels.items()}
        # No notes on whether the run began anew, so that a resumed run gives the same bytes.
        own = {
            "statistics": opened.job.plan.scoring,
            "pruned": saved.pruned,
            "mask_digest": mask_digest,
            "layer_sparsity": shares,
            "notes": [*(record or {}).get("notes", ()), *notes],
            **opened_by(opened.skeleton.model.config),
            "checkpoint": saved.to_json(),
        }
        # Not written in place: a kill would leave an unfinished file in the model folder.
        saved = replace(saved, record={**(record or {}), **own})
        write_json(work.folder / RECORD_FILE, saved.record)
        (work.folder / RECORD_FILE).replace(work.model / RECORD_FILE)
        if seen is not None:
            seen.save(work.folder / SEEN_FILE)
            (work.folder / SEEN_FILE).replace(work.model / SEEN_FILE)
    return StreamedModel(
        saved=saved,
        layer_sparsity=shares,
        zeros=sum(zeros.values()),
        prunable=sum(numels.values()),
        mask_digest=mask_digest,
        seconds=time.perf_counter() - start,
        notes=(*work.notes, *notes),
        resumed=resumed,
    )


def disk_needed(opened: OpenJob) -> int:
    """Bytes that a run takes on disk: the new shards and, until it ends, the hidden states."""
    return opened.checkpoint.nbytes + opened.hidden_places * opened.hidden_size


def check_disk(opened: OpenJob, target: Path) -> None:
    """Refuse to start a run that would fill the disk."""
    # A link's target is what is written.
    existing = nearest_folder(target.resolve().parent)
    free, needed = shutil.disk_usage(existing).free, disk_needed(opened)
    there = [path.stat() for path in partial_folder(target).rglob("*") if path.is_file()]
    if free + sum(512 * stat.st_blocks for stat in there) < needed:
        raise AutopruneError(
            f"pruning to {target} needs {needed / 1e9:.1f} GB and {existing} has {free / 1e9:.1f} "
            "GB free; nothing was written; free some space or choose another folder"
        )


def _prune_blocks(
    opened: OpenJob, work: Unfinished, writer: ShardWriter, report: Report
) -> list[str]:
    """Prune the remaining blocks; return the notes on all blocks and the recipe."""
    job, skeleton = opened.job, opened.skeleton
    stream = opened.stream(job.windows, work.states("hidden"), len(work.blocks))
    make = job.make(work.quotas or {}, opened.blocks)
    pruner = BlockPruner(stream, make, job.plan, room=work.room)
    if stream.position:
        report(Progress("pruning", stream.position, opened.blocks))
    pruned = stream.position
    for index in range(pruned, opened.blocks):
        with skeleton.filled_block(index), rejecting_overflow(make, pruned):
            masks, found = pruner.prune_next(opened.members(index))
            tensors = write_block(opened, index, writer)
        digests = {name: pack_mask(keep).digest for name, keep in masks.items()}
        zeros = {name: keep.numel() - int(keep.sum()) for name, keep in masks.items()}
        work.blocks.append(DoneBlock(digests, zeros, found, tensors))
        work.keep()
        report(Progress("pruning", index + 1, opened.blocks))
    notes = [note for block in work.blocks for note in block.notes]
    return [*same_as_sequential(job.plan), *notes, *pruner.notes()]


def write_block(opened: OpenJob, index: int, writer: ShardWriter) -> dict[str, str]:
    """Write a filled block's prunable parameters, one at a time where the layout allows it."""
    model = opened.skeleton.model
    written: dict[str, str] = {}
    for parameter in opened.parameters(index):
        value: Tensor = model.get_parameter(parameter)
        for name, tensor in opened.skeleton.to_checkpoint({parameter: value.detach()}).items():
            written[name] = writer.write(name, tensor)
    return written


def _copy_companions(checkpoint: Checkpoint, work: Unfinished) -> None:
    """Copy configuration, tokenizer and index: everything but weights, record and card.

    A run that resumes has them: each is replaced at once, since a torn index loses all blocks.
    """
    whole = work.folder / "companion"
    left = {RECORD_FILE, CARD_FILE}
    if checkpoint.files == [SINGLE_FILE]:
        left.add(INDEX_FILE)  # of shards that nobody reads, and that stay behind
    for path in sorted(checkpoint.folder.iterdir()):
        if path.is_file() and path.suffix not in _WEIGHT_FILES and path.name not in left:
            shutil.copyfile(path, whole)
            whole.replace(work.model / path.name)
    templates = checkpoint.folder / CHAT_TEMPLATE_DIR
    if templates.is_dir():
        shutil.copytree(templates, work.model / CHAT_TEMPLATE_DIR, dirs_exist_ok=True)
