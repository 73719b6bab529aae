"""Prune block by block: each block sees the activations of the blocks already pruned."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import ModelContext
from autoprune.calibration.recorder import BlockRecorder
from autoprune.calibration.statistics import GRADIENT, Statistics, collect_statistics
from autoprune.errors import UsageError
from autoprune.metrics.metric import Metric, layer_scores
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import (
    PruneOutcome,
    PruningPlan,
    beside,
    layer_budgets,
    masks_from_scores,
    repair_layer,
)
from autoprune.tuning import BlockGoals, tune_block, windows_per_batch


@torch.no_grad()
def prune_sequential(
    model: PreTrainedModel,
    windows: Tensor,
    metric: Metric,
    plan: PruningPlan,
    *,
    statistics: Statistics | None = None,
    true_sequential: bool = False,
    batch_tokens: int = 2048,
    report: Report = silent,
) -> PruneOutcome:
    """Prune a model in place, block by block, with repair inside the block.

    Args:
        model: In eval mode, dense.
        windows: Calibration token ids, int64 [n, s].
        metric: Scores the weights.
        plan: Budget, group, allocation and repair.
        statistics: Statistics of the dense model, for what cannot be streamed: allocators that
            read activations and gradients; collected here when missing.
        true_sequential: Also prune inside a block in steps, one per distinct input in the order in
            which they run (q, k, v; then o; then gate, up; then down; all experts' gate and up in
            one), each seeing the steps before; SparseGPT (arXiv 2301.00774) does so. Costs one
            forward pass per step.
        batch_tokens: Tokens per forward pass of a block.
        report: Told after every block.

    Raises:
        UsageError: If the plan compares weights of the whole model, which sequential pruning
            never sees at once, or a part of it makes no sense; or if blocks are to be pruned in
            steps and all matrices of a block compete.
    """
    start = time.perf_counter()
    refuse_unseen(plan, true_sequential=true_sequential)
    layers = prunable_linears(model)
    statistics = _dense_statistics(model, windows, metric, plan, statistics, batch_tokens)
    quotas = layer_budgets(plan, ModelContext(layers, statistics, plan.seed))
    batch = windows_per_batch(windows, batch_tokens, plan.repair.block)
    stream = BlockStream(model, windows, batch=batch)
    how = plan.repair.block
    tuning = BlockGoals(stream, how) if how is not None else None
    pruner = BlockPruner(stream, metric, plan, quotas, statistics, true_sequential, tuning)
    masks: dict[str, Tensor] = {}
    notes = same_as_sequential(plan)
    for index in range(len(stream.blocks)):
        kept, said = pruner.prune_next([layer for layer in layers if layer.block == index])
        masks.update(kept)
        notes.extend(said)
        report(Progress("pruning", index + 1, len(stream.blocks)))
    ordered = {layer.name: masks[layer.name] for layer in layers}
    return PruneOutcome.of_masks(ordered, time.perf_counter() - start, notes)


def same_as_sequential(plan: PruningPlan) -> list[str]:
    """A note where the repair asks for the walk that sequential pruning makes anyway."""
    repair = plan.repair
    if not repair.walks or repair.block is not None:
        return []
    return [
        f"repair {repair.text!r} was done as {replace(repair, order='at once').text!r}: "
        "sequential pruning walks the blocks, scores and repair"
    ]


def refuse_unseen(plan: PruningPlan, *, true_sequential: bool) -> None:
    """Refuse a plan that compares weights which are never seen at once.

    Raises:
        UsageError: If it compares those of the whole model, or those of a block that is pruned in
            steps.
    """
    if plan.pattern is None and plan.group == "global":
        raise UsageError(
            "comparison group 'global' needs the scores of the whole model at once; "
            "prune one-shot, or compare within 'block', 'matrix' or 'row'"
        )
    if true_sequential and plan.group == "block":
        raise UsageError(
            "comparison group 'block' compares all matrices of a block at once, and "
            "true-sequential prunes them in steps; take the group matrix or row, or sequential"
        )


@dataclass(frozen=True)
class BlockPruner:
    """Prunes the blocks of a stream one after the other.

    Args:
        stream: Hidden states before the first block.
        metric: Scores the weights.
        plan: Group, pattern and repair.
        quotas: Zeros per layer.
        statistics: Dense statistics, for gradients.
        true_sequential: See :func:`prune_sequential`.
        tuning: Goals of the stream's blocks, for a repair that tunes them.
    """

    stream: BlockStream
    metric: Metric
    plan: PruningPlan
    quotas: Mapping[str, int]
    statistics: Statistics | None = None
    true_sequential: bool = False
    tuning: BlockGoals | None = None

    @torch.no_grad()
    def prune_next(self, members: Sequence[PrunableLinear]) -> tuple[dict[str, Tensor], list[str]]:
        """Prune the block that comes next and carry the hidden states through it.

        Args:
            members: The block's prunable matrices.

        Returns:
            Keep mask per layer, bool [o, i], and notes on fallbacks.
        """
        masks: dict[str, Tensor] = {}
        notes: list[str] = []
        needs = (self.metric.needs | self.plan.repair.needs) - {GRADIENT}
        seen: Mapping[str, Mapping[str, Tensor]] = {layer.name: {} for layer in members}
        steps: Sequence[Sequence[PrunableLinear]] = [members]
        recorder: BlockRecorder | None = None
        if members and needs:
            recorder = record_block(self.stream, members, needs)
            if self.true_sequential:
                steps = recorder.steps()
        goals = self.tuning.of_next() if self.tuning else []
        for number, step in enumerate(steps):
            if number:
                recorder = record_block(self.stream, step, needs)
            if recorder is not None:
                seen = recorder.results()
                notes.extend(recorder.notes_on(step))
            self._prune_step(step, seen, masks, notes)
        if self.tuning and members:
            how, plan = self.tuning.how, self.plan
            notes.extend(
                tune_block(self.stream, members, masks, goals, how, plan.seed, plan.precision)
            )
        leave_block(self.stream)
        return masks, notes

    def _prune_step(
        self,
        step: Sequence[PrunableLinear],
        seen: Mapping[str, Mapping[str, Tensor]],
        masks: dict[str, Tensor],
        notes: list[str],
    ) -> None:
        def stats_of(layer: PrunableLinear) -> dict[str, Tensor]:
            known = dict(seen[layer.name])
            if GRADIENT in self.metric.needs and self.statistics is not None:
                known[GRADIENT] = self.statistics.of(layer.name)[GRADIENT]
            return known

        def score(layer: PrunableLinear) -> Tensor:
            weight = layer.read()
            stats = beside(weight, stats_of(layer), self.metric.needs)
            return layer_scores(self.metric, layer.name, weight, stats)

        chosen = masks_from_scores(score, step, self.quotas, self.plan)
        for layer in step:
            keep = chosen[layer.name]
            masks[layer.name], said = repair_layer(layer, keep, stats_of(layer), self.plan)
            notes.extend(said)


def record_block(
    stream: BlockStream, members: Sequence[PrunableLinear], needs: frozenset[str]
) -> BlockRecorder:
    """Record what matrices of the block that comes next receive, as things stand.

    Args:
        stream: Hidden states before the block; they stay there.
        members: Matrices of the block.
        needs: Names of the statistics.
    """
    block = stream.blocks[stream.position]
    with BlockRecorder(block, members, needs, inputs_only=True) as recorder:
        stream.run()
    return recorder


def leave_block(stream: BlockStream) -> None:
    """Carry the hidden states through the block that comes next, as it stands."""
    if stream.position + 1 < len(stream.blocks):
        stream.advance()
    else:
        stream.step()  # nobody reads what the last block makes


def _dense_statistics(
    model: PreTrainedModel,
    windows: Tensor,
    metric: Metric,
    plan: PruningPlan,
    given: Statistics | None,
    batch_tokens: int,
) -> Statistics | None:
    needed = plan.allocation.needs | (metric.needs & {GRADIENT})
    if given is not None or not needed:
        return given
    return collect_statistics(model, windows, needs=needed, batch_tokens=batch_tokens)
