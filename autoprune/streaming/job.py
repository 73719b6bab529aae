"""The streaming job, and the steps shared by pruning and its estimate."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from autoprune.allocation import ModelContext
from autoprune.bench.programs import ByProgram, check_plan
from autoprune.candidate import Candidate
from autoprune.digest import digest_bytes, digest_json
from autoprune.errors import UsageError
from autoprune.metrics.metric import Metric
from autoprune.models.capture import BlockStream
from autoprune.models.device import default_device
from autoprune.models.structure import PrunableLinear, text_config
from autoprune.numerics import computed_by
from autoprune.program_files import prunes_blocks
from autoprune.programs import READS, ProgramRunner
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import MetricScore, NewBlocks, NewWeights, PruningPlan
from autoprune.pruning.layers import scored
from autoprune.pruning.tuning import windows_per_batch
from autoprune.statistics.recorder import BlockRecorder
from autoprune.statistics.statistics import GRADIENT, Statistics
from autoprune.streaming.hidden import HiddenFile, scratch
from autoprune.streaming.shards import Checkpoint, raw_bytes
from autoprune.streaming.skeleton import Skeleton

_MANTISSA = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


@dataclass(frozen=True)
class StreamJob:
    """A model to prune block by block from its shards.

    Args:
        source: Folder of a safetensors checkpoint.
        windows: Calibration token ids, int64 [n, s].
        metric: Scores the weights, or a candidate of kind ``program``, which returns new ones.
        plan: Budget, group, allocation and repair; its scores are sequential or true-sequential.
        dtype: Type to compute in; at least as precise as the checkpoint's.
        device: A torch device; None: the accelerator, if there is one.
        batch_tokens: Tokens per forward pass of a block that is not tuned.
        runner: Runs a program.
    """

    source: Path
    windows: Tensor
    metric: Metric | Candidate
    plan: PruningPlan
    dtype: torch.dtype = torch.float32
    device: str | None = None
    batch_tokens: int = 2048
    runner: ProgramRunner | None = None

    @property
    def reads(self) -> frozenset[str]:
        """Statistics of a layer's input read by the scores or the program, and by the repair."""
        own = READS if isinstance(self.metric, Candidate) else self.metric.needs
        return own | self.plan.repair.needs

    def make(self, quotas: Mapping[str, int], blocks: int) -> NewWeights | NewBlocks:
        """Build the provider of new weights for layers."""
        if isinstance(self.metric, Candidate):
            return ByProgram(self.metric, self.runner).maker(quotas, self.plan, blocks)
        return scored(MetricScore(self.metric), quotas, self.plan)

    def open(self) -> "OpenJob":
        """Build the skeleton; refuse a job that cannot be streamed."""
        if self.plan.scoring == "dense":
            raise UsageError(
                "streaming holds one block at a time and can score nothing by statistics of the "
                "whole dense model; take scoring 'sequential' or 'true-sequential'"
            )
        self.plan.refuse_unseen()
        if isinstance(self.metric, Candidate):
            check_plan(self.plan, self.metric)
            if prunes_blocks(self.metric.source):
                raise UsageError(
                    "a block program reads what a block should give on all calibration text, for "
                    "which streaming states no memory or time; leave out --stream"
                )
        if GRADIENT in self.reads | self.plan.needs:
            name = "" if isinstance(self.metric, Candidate) else self.metric.name
            raise UsageError(
                f"metric {name!r} needs gradients of the whole model, which streaming "
                "never holds; take a metric of weights and activations, or prune in memory"
            )
        if self.plan.repair.recovery is not None:
            raise UsageError(
                f"repair {self.plan.repair.text!r} trains all blocks at once by the whole model's "
                "gradients, which streaming never holds; leave out recover, or --stream"
            )
        checkpoint = Checkpoint(self.source)
        device = torch.device(self.device or default_device())
        skeleton = Skeleton(checkpoint, self.dtype, device)
        coarsest = self.dtype
        for name in skeleton.sources([x.parameter for x in skeleton.linears]):
            stored = checkpoint.entries[name].dtype
            coarsest = min(coarsest, stored, key=lambda kind: _MANTISSA.get(kind, 53))
            coarser = _MANTISSA.get(stored, 53) > _MANTISSA.get(self.dtype, 53)
            if coarser or torch.finfo(self.dtype).tiny > torch.finfo(stored).tiny:
                raise UsageError(
                    f"{name} is stored as {stored}, and computing in {self.dtype} would round the "
                    "weights that stay; compute in float32"
                )
        # The shards round repaired weights, so a repair is judged on the rounded ones.
        return OpenJob(replace(self, plan=replace(self.plan, saved=coarsest)), checkpoint, skeleton)

    @property
    def batch(self) -> int:
        """Windows per forward pass."""
        return windows_per_batch(self.windows, self.batch_tokens, self.plan.repair.block)


@dataclass
class OpenJob:
    """A job with its skeleton; see :meth:`StreamJob.open`."""

    job: StreamJob
    checkpoint: Checkpoint
    skeleton: Skeleton
    _lengths: list[int] | None = field(default=None, repr=False)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.skeleton.blocks)

    def members(self, index: int) -> list[PrunableLinear]:
        """Prunable matrices of a block."""
        return [layer for layer in self.skeleton.linears if layer.block == index]

    def parameters(self, index: int) -> list[str]:
        """Parameters of a block that hold prunable matrices."""
        return list(dict.fromkeys(layer.parameter for layer in self.members(index)))

    @property
    def hidden_size(self) -> int:
        """Bytes of the hidden states of all windows."""
        config = text_config(self.skeleton.model)
        return int(self.job.windows.numel() * config.hidden_size * self.job.dtype.itemsize)

    @property
    def hidden_places(self) -> int:
        """How many copies of all hidden states are on disk; see :class:`HiddenFile`."""
        tuning = self.job.plan.repair.block
        if tuning is None:
            return 2
        return 2 + (2 if tuning.anchor > 0.0 else 0) + (1 if tuning.anchor < 1.0 else 0)

    @property
    def key(self) -> str:
        """SHA-256 of everything that determines the result: shards, text, recipe, versions."""
        job, plan, metric = self.job, self.job.plan, self.job.metric
        shards = [(self.checkpoint.folder / file).stat() for file in self.checkpoint.files]
        by = (
            [metric.digest]
            if isinstance(metric, Candidate)
            else [type(metric).__name__, metric.name, dict(metric.params), metric.formula]
        )
        return digest_json(
            [
                computed_by(),
                [(stat.st_size, stat.st_mtime_ns) for stat in shards],
                str(self.checkpoint.folder.resolve()),
                self.skeleton.model.config.to_json_string(),
                [
                    list(job.windows.shape),
                    digest_bytes(bytes(raw_bytes(job.windows.cpu().contiguous()))),
                ],
                by,
                [plan.sparsity, plan.group, str(plan.pattern), plan.allocation.text],
                [plan.repair.text, plan.seed, str(plan.saved), plan.scoring, plan.precision],
                [str(job.dtype), str(self.skeleton.device), job.batch],
            ]
        )

    def stream(self, windows: Tensor, hidden: HiddenFile, position: int = 0) -> BlockStream:
        """Hidden states before a block."""
        skeleton = self.skeleton
        skeleton.fill_outside(windows)
        if self._lengths is None:
            self._lengths = skeleton.tuple_lengths(windows[:1, :2].to(skeleton.device))
        return BlockStream(
            skeleton.model,
            windows,
            batch=self.job.batch,
            lengths=self._lengths,
            hidden=hidden,
            position=position,
        )

    def context(self, folder: Path, report: Report = silent) -> ModelContext:
        """Input of the allocator: weights from the shards, statistics from a dense pass.

        The pass is only made for an allocator that reads statistics.
        """
        needs = self.job.plan.allocation.needs
        statistics = self._dense(needs, folder, report) if needs else None
        units = [ShardLayer(self.skeleton, layer) for layer in self.skeleton.linears]
        return ModelContext(units, statistics)

    @torch.no_grad()
    def _dense(self, needs: frozenset[str], folder: Path, report: Report) -> Statistics:
        layers: dict[str, Mapping[str, Tensor]] = {}
        with ExitStack() as stack:
            stream = self.stream(self.job.windows, scratch(folder, self.skeleton.device, stack))
            for index in range(self.blocks):
                with self.skeleton.filled_block(index) as block:
                    with BlockRecorder(block, self.members(index), needs) as recorder:
                        stream.advance()
                    layers.update(recorder.results())
                report(Progress("dense statistics", index + 1, self.blocks))
        return Statistics(self.job.windows.numel(), "", layers)


@dataclass(frozen=True)
class ShardLayer:
    """A prunable matrix that is read from its shard on every access."""

    skeleton: Skeleton = field(repr=False)
    linear: PrunableLinear

    @property
    def name(self) -> str:
        """Name of the matrix."""
        return self.linear.name

    @property
    def block(self) -> int:
        """Number of its block."""
        return self.linear.block

    @property
    def numel(self) -> int:
        """Number of weights."""
        return self.linear.numel

    def read(self) -> Tensor:
        """The weight, [o, i], in the checkpoint's type."""
        return self.linear.orient(self.skeleton.value(self.linear.parameter))
