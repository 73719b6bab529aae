"""Estimate the cost of a streamed run: memory from a formula, time from one block.

The rehearsal prunes the first block on one batch and discards the result. It costs about the
run's time divided by the number of blocks, and is more accurate than any table, since it measures
this machine, this metric and this repair.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch

from autoprune.allocation import ModelContext, Uniform
from autoprune.candidate import Candidate
from autoprune.masking import pack_mask
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, text_config
from autoprune.pruning import BlockPruner
from autoprune.pruning.masks import equal_budgets
from autoprune.pruning.tuning import tune_block
from autoprune.statistics.accumulator import FROM_GRAM
from autoprune.statistics.recorder import BlockRecorder
from autoprune.streaming.hidden import scratch
from autoprune.streaming.job import OpenJob, ShardLayer, StreamJob
from autoprune.streaming.prune import disk_needed
from autoprune.streaming.shards import raw_bytes, write_all

# Memory that libraries retain: allocator arenas, packed panels of matrix products.
_KEPT_BY_LIBRARIES = 60e6


@dataclass(frozen=True)
class StreamEstimate:
    """Cost of a streamed run.

    Args:
        memory_bytes: Peak resident memory of the process.
        disk_bytes: Disk space: the target and, until the end of the run, the hidden states.
        seconds: Wall-clock time.
        parts: Breakdown of the memory, in bytes.
    """

    memory_bytes: int
    disk_bytes: int
    seconds: float
    parts: Mapping[str, int]


def estimate(job: StreamJob, scratch: Path) -> StreamEstimate:
    """Estimate a run of :func:`autoprune.streaming.prune.prune_streamed`; nothing is kept."""
    opened = job.open()
    parts = memory_parts(opened)
    seconds = _Rehearsal(opened, scratch).seconds()
    return StreamEstimate(sum(parts.values()), disk_needed(opened), seconds, parts)


def memory_parts(opened: OpenJob) -> dict[str, int]:
    """Peak memory by cause: libraries, what lies outside the blocks, one block, workspace."""
    job, skeleton = opened.job, opened.skeleton
    largest = max(range(opened.blocks), key=lambda index: _weights(opened, index))
    members = opened.members(largest)
    item = job.dtype.itemsize
    matrix = max((layer.numel for layer in members), default=0)
    tokens = min(job.windows.numel(), job.batch * job.windows.shape[1])
    config = text_config(skeleton.model)
    features = {layer.shape[1] for layer in members}
    needs = job.reads
    # Matrices of one input width nearly always share inputs in twos or threes, so each width has
    # at most about two distinct inputs: before attention and before the feed-forward map.
    grams = 0 if FROM_GRAM.isdisjoint(needs) else sum(2 * width**2 * 4 for width in features)
    widest = max((max(layer.shape) for layer in members), default=0)
    # A gated feed-forward map holds gate, activation and product at once; the recorder, a copy.
    running = tokens * (4 * widest + 6 * config.hidden_size) * item
    # Weight as float32, score, the partition's copy, and the mask being compared.
    scoring = matrix * (3 * 4 + 2)
    if job.plan.group == "block" and job.plan.pattern is None:
        scoring = sum(layer.numel for layer in members) * (3 * 4 + 2)
    if isinstance(job.metric, Candidate):
        # A program returns the weights of a whole block at once, as float32; one is recounted.
        scoring = sum(layer.numel for layer in members) * 2 * 4 + matrix * 4 * 4
    repairing = 0
    if job.plan.repair.layer:
        repairing = matrix * 4 * 5 + max(features, default=0) ** 2 * 4 * 4
    reading = matrix * 4
    states = 2 * tokens * config.hidden_size * item
    tuning = 0
    how = job.plan.repair.block
    if how is not None:
        # Gradient, both moments and a backup copy, as float32; products in bfloat16 need copies
        # of weight and gradient. The backward pass needs the states between operations; those of
        # the feed-forward map exist as float32 besides bfloat16.
        tuning = sum(layer.numel for layer in members) * (4 * 4 + 2 * 2 + 1)
        tuning += tokens * (8 * widest + 16 * config.hidden_size) * item
    return {
        "libraries": psutil.Process().memory_info().rss + int(_KEPT_BY_LIBRARIES),
        "embeddings": skeleton.outside_bytes(job.windows),
        "block weights": _weights(opened, largest) * item,
        "masks of the block": sum(layer.numel for layer in members),
        "statistics": grams,
        "hidden states": states,
        "workspace": max(running, scoring, repairing, tuning, reading),
    }


def _weights(opened: OpenJob, index: int) -> int:
    parameters = opened.skeleton.block_parameters(index)
    return sum(opened.skeleton.model.get_parameter(name).numel() for name in parameters)


class _Rehearsal:
    """Times each step on the first block and one batch."""

    def __init__(self, opened: OpenJob, scratch: Path) -> None:
        self._opened = opened
        self._scratch = scratch
        self._batches = -(-len(opened.job.windows) // opened.job.batch)
        total = sum(_weights(opened, index) for index in range(opened.blocks))
        # The model's size in multiples of the first block; blocks may differ in size.
        self._blocks = total / max(_weights(opened, 0), 1)

    @torch.no_grad()
    def seconds(self) -> float:
        opened, job = self._opened, self._opened.job
        windows = job.windows[: job.batch]
        device = opened.skeleton.device
        begin = time.perf_counter()
        with ExitStack() as stack:
            stream = opened.stream(windows, scratch(self._scratch, device, stack))
            capture = time.perf_counter() - begin
            members = opened.members(0)
            needs = job.reads
            begin = time.perf_counter()
            with opened.skeleton.filled_block(0) as block:
                fill = time.perf_counter() - begin

                def recorded() -> BlockRecorder:
                    with BlockRecorder(block, members, needs, inputs_only=True) as recorder:
                        stream.run()
                    return recorder

                # The first run of any shape is slower than later ones.
                steps = len(recorded().steps())
                record = _timed(recorded) * (steps if job.plan.scoring == "true-sequential" else 1)
                forward = _timed(stream.run)
                batch = record + forward + self._tuning(stream, members, forward)
                make = job.make(equal_budgets(job.plan, members), opened.blocks)
                room = partial(scratch, self._scratch, device, stack)
                pruner = BlockPruner(stream, make, job.plan, room=lambda _: room())
                begin = time.perf_counter()
                masks, _ = pruner.prune_next(members)
                for keep in masks.values():
                    _ = pack_mask(keep).digest
                prune = time.perf_counter() - begin
                write = _timed(self._write_and_check)
        block_seconds = fill + prune + write + (self._batches - 1) * batch
        copied = opened.checkpoint.nbytes - self._bytes(range(opened.blocks))
        rate = write / max(self._bytes([0]), 1)
        return (
            capture
            + self._blocks * block_seconds
            + copied * rate
            + self._allocation(fill + self._batches * record)
        )

    def _tuning(
        self, stream: BlockStream, members: Sequence[PrunableLinear], forward: float
    ) -> float:
        """Seconds per batch for the tuning of a block."""
        plan = self._opened.job.plan
        how = plan.repair.block
        if how is None:
            return 0.0
        keep = {layer.name: torch.ones(layer.shape, dtype=torch.bool) for layer in members}
        goals = list(stream.hidden)

        def tuned() -> None:
            tune_block(stream, members, keep, goals, how, plan.seed, plan.precision)

        tuned()
        # Two of its passes measure the error on a few batches; dense states advance on every batch.
        return max(_timed(tuned) - 2 * forward, 0.0) + (forward if how.anchor > 0.0 else 0.0)

    def _bytes(self, blocks: range | list[int]) -> int:
        names = [name for index in blocks for name in self._opened.parameters(index)]
        entries = self._opened.checkpoint.entries
        return sum(entries[key].nbytes for key in self._opened.skeleton.sources(names))

    def _write_and_check(self) -> None:
        """Do what a run does with a block's bytes: write them, count zeros, compute the digest."""
        skeleton = self._opened.skeleton
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as stream:
            for name in self._opened.parameters(0):
                value = skeleton.model.get_parameter(name).detach()
                for key, tensor in skeleton.to_checkpoint({name: value}).items():
                    kind = self._opened.checkpoint.entries[key].dtype
                    stored = tensor.to("cpu", kind).contiguous()
                    write_all(stream, raw_bytes(stored))
                    torch.count_nonzero(stored)
                    hashlib.sha256(raw_bytes(stored)).digest()

    def _allocation(self, dense_block: float) -> float:
        """Seconds that the allocator takes: its work on the weights and its dense pass."""
        job = self._opened.job
        if isinstance(job.plan.allocation, Uniform):
            return 0.0
        if job.plan.allocation.needs:
            # Their arithmetic on weights is negligible compared with the pass.
            return self._blocks * dense_block
        units = [ShardLayer(self._opened.skeleton, layer) for layer in self._opened.members(0)]
        context = ModelContext(units, None)
        target = job.plan.sparsity
        return self._blocks * _timed(lambda: job.plan.allocation.rates(context, target))


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
