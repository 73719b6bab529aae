"""The pruning engine: at once or block by block, with repair, block tuning and recovery.

One-shot, sequential, true-sequential and walking are settings of :class:`PruningPlan`: they decide
which statistics the scores come from and in which order layers are repaired.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import ModelContext
from autoprune.errors import UsageError
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.layers import Maker, NewBlocks, NewWeights, SeenBlock, given, scored
from autoprune.pruning.masks import (
    Score,
    StatsOf,
    dense_stats,
    layer_budgets,
    masks_from_scores,
    no_stats,
)
from autoprune.pruning.masters import passes_notes, passes_of
from autoprune.pruning.outcome import PruneOutcome
from autoprune.pruning.plan import PruningPlan
from autoprune.pruning.recovery import Recovery
from autoprune.pruning.tuning import BlockGoals, Room, tune_block, windows_per_batch
from autoprune.repair import BlockTuning
from autoprune.statistics.recorder import BlockRecorder
from autoprune.statistics.statistics import GRADIENT, Statistics, collect_statistics


def prune(
    model: PreTrainedModel,
    by: Score | Maker,
    plan: PruningPlan,
    *,
    windows: Tensor | None = None,
    fresh: Tensor | None = None,
    layers: Sequence[PrunableLinear] | None = None,
    statistics: Statistics | None = None,
    context: ModelContext | None = None,
    batch_tokens: int = 2048,
    report: Report = silent,
) -> PruneOutcome:
    """Prune a model in place."""
    start = time.perf_counter()
    if isinstance(by, Maker):
        by.check(plan)
    plan.refuse_unseen()
    _require_windows(plan, windows)
    layers = prunable_linears(model) if layers is None else layers
    needs = plan.dense_needs(by.needs)
    if statistics is None and needs and windows is not None:
        statistics = collect_statistics(model, windows, needs=needs, batch_tokens=batch_tokens)
    quotas = layer_budgets(plan, context or ModelContext(layers, statistics))
    dense = dense_stats(statistics)
    notes: list[str] = []
    making: AbstractContextManager[NewWeights | NewBlocks]
    if isinstance(by, Maker):
        making = by.making(quotas, plan, 1 + max(layer.block for layer in layers))
    elif plan.scoring == "dense":
        notes += statistics.notes if statistics is not None else ()
        masks = masks_from_scores(by, layers, quotas, plan, dense, report=report)
        making = nullcontext(given(masks, plan, silent if plan.runs_blocks else report))
    else:
        notes += same_as_sequential(plan)
        making = nullcontext(scored(by, quotas, plan))
    recovery = Recovery.taught(model, plan, windows, fresh, report)
    with making as make:
        keep, found = new_weights(model, layers, make, plan, dense, windows, batch_tokens, report)
    found += recovery.run(layers, keep) if recovery else []
    made = PruneOutcome.of_masks(keep, time.perf_counter() - start, [*notes, *found])
    return by.outcome(made, make, layers) if isinstance(by, Maker) else made


def repair_masks(
    model: PreTrainedModel,
    masks: Mapping[str, Tensor],
    plan: PruningPlan,
    *,
    windows: Tensor | None = None,
    fresh: Tensor | None = None,
    layers: Sequence[PrunableLinear] | None = None,
    statistics: Statistics | None = None,
    batch_tokens: int = 2048,
    report: Report = silent,
) -> PruneOutcome:
    """Apply given masks to dense layers and repair them; see :func:`prune`."""
    start = time.perf_counter()
    _require_windows(plan, windows)
    layers = prunable_linears(model) if layers is None else layers
    make = given(masks, plan, silent if plan.runs_blocks else report)
    dense = dense_stats(statistics)
    recovery = Recovery.taught(model, plan, windows, fresh, report)
    keep, notes = new_weights(model, layers, make, plan, dense, windows, batch_tokens, report)
    notes += recovery.run(layers, keep) if recovery else []
    return PruneOutcome.of_masks(keep, time.perf_counter() - start, notes)


def new_weights(
    model: PreTrainedModel,
    layers: Sequence[PrunableLinear],
    make: NewWeights | NewBlocks,
    plan: PruningPlan,
    dense: StatsOf,
    windows: Tensor | None,
    batch_tokens: int = 2048,
    report: Report = silent,
) -> tuple[dict[str, Tensor], list[str]]:
    """Give all layers new weights, at once or block by block."""
    if windows is None or not plan.runs_blocks:
        assert not isinstance(make, NewBlocks)
        return make(layers, dense)
    batch = windows_per_batch(windows, batch_tokens, tuning_of(plan, make))
    pruner = BlockPruner(BlockStream(model, windows, batch=batch), make, plan, dense)
    masks: dict[str, Tensor] = {}
    notes: list[str] = []
    blocks = len(pruner.stream.blocks)
    for index in range(blocks):
        kept, found = pruner.prune_next([layer for layer in layers if layer.block == index])
        masks.update(kept)
        notes.extend(found)
        report(Progress("repair" if plan.scoring == "dense" else "pruning", index + 1, blocks))
    notes.extend(pruner.notes())
    return {layer.name: masks[layer.name] for layer in layers}, notes


class BlockPruner:
    """Prunes the blocks of a stream one after the other.

    Args:
        stream: Hidden states before the first block.
        make: Provides new weights for layers or for whole blocks.
        plan: Steps inside a block, and the tuning of the whole block.
        dense: Statistics of the dense model, for gradients.
        room: See :class:`BlockGoals`.
    """

    def __init__(
        self,
        stream: BlockStream,
        make: NewWeights | NewBlocks,
        plan: PruningPlan,
        dense: StatsOf = no_stats,
        room: Room = lambda _: [],
    ) -> None:
        self.stream = stream
        self._make = make
        self._plan = plan
        self._dense = dense
        how = tuning_of(plan, make)
        self._goals = BlockGoals(stream, how, room) if how is not None else None
        total = len(stream.hidden)
        # Number of batches whose inputs are recorded; block programs are measured on the others.
        self._seen = make.seen(total) if isinstance(make, NewBlocks) else total

    @torch.no_grad()
    def prune_next(self, members: Sequence[PrunableLinear]) -> tuple[dict[str, Tensor], list[str]]:
        """Prune the next block and carry the hidden states through it."""
        needs = self._make.needs - {GRADIENT}
        recorder, goals = self._see_dense(members if needs else (), needs)
        if not isinstance(self._make, NewBlocks):
            masks, notes = self._prune_layers(self._make, members, recorder)
        elif members:
            masks, notes = self._prune_whole(self._make, members, recorder, goals)
        else:
            masks, notes = {}, []
        how = self._plan.repair.block
        if how and members:
            plan = self._plan
            notes.extend(
                tune_block(self.stream, members, masks, goals, how, plan.seed, plan.precision)
            )
        with self._products():
            leave_block(self.stream)
        return masks, notes

    def _prune_layers(
        self, make: NewWeights, members: Sequence[PrunableLinear], recorder: BlockRecorder | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        masks: dict[str, Tensor] = {}
        notes: list[str] = []
        inside = recorder is not None and self._plan.scoring == "true-sequential"
        for number, step in enumerate(recorder.steps() if recorder and inside else [members]):
            if number:
                with self._products():
                    recorder = record_block(self.stream, step, make.needs - {GRADIENT})
            if recorder is not None:
                notes.extend(recorder.notes_on(step))
            kept, found = make(step, self._stats_of(recorder))
            masks.update(kept)
            notes.extend(found)
        return masks, notes

    def _prune_whole(
        self,
        make: NewBlocks,
        members: Sequence[PrunableLinear],
        recorder: BlockRecorder | None,
        goals: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], list[str]]:
        whole, total = self.stream.kept(), len(goals)
        part = SeenBlock(members, whole.part(0, self._seen), goals[: self._seen])
        if self._seen < total:
            unseen = whole.part(self._seen, total)
            part = replace(part, unseen=unseen, unseen_goals=goals[self._seen :])
        masks, notes = make.prune_blocks([part], self._stats_of(recorder))
        return masks, [*(recorder.notes_on(members) if recorder else ()), *notes]

    def _see_dense(
        self, members: Sequence[PrunableLinear], needs: frozenset[str]
    ) -> tuple[BlockRecorder | None, Sequence[Tensor]]:
        """Record the inputs of the still dense block, and its target outputs after pruning.

        Both need a pass on the pruned model's inputs, so one pass serves both.
        """
        with self._products():
            recorder, goals = None, self._goals
            total = len(self.stream.hidden)
            anchored = goals is not None and goals.how.anchor == 1.0
            one_pass = bool(members) and (not anchored or self._seen < total)
            if goals and one_pass:
                block = self.stream.blocks[self.stream.position]
                with BlockRecorder(block, members, needs) as recorder:
                    goals.see(range(self._seen))
                goals.see(range(self._seen, total))
            elif members:
                recorder = record_block(self.stream, members, needs)
            return recorder, goals.of_next(seen=one_pass) if goals else []

    def _products(self) -> AbstractContextManager[Any]:
        """Rounding in passes without gradients: as set for block tuning, or none."""
        plan = self._plan
        return passes_of(self.stream.model, tuning_of(plan, self._make), plan.precision)

    def notes(self) -> list[str]:
        """Notes on whether passes of block tuning meant for bfloat16 used it."""
        return passes_notes(self.stream.model, self._plan.repair.block, self._plan.precision)

    def _stats_of(self, recorder: BlockRecorder | None) -> StatsOf:
        """Statistics recorded from the block as it is, with the dense model's gradients."""
        seen: Mapping[str, Mapping[str, Tensor]] = recorder.results() if recorder else {}

        def stats_of(layer: PrunableLinear) -> Mapping[str, Tensor]:
            stats = dict(seen.get(layer.name, {}))
            dense = self._dense(layer) if GRADIENT in self._make.needs else {}
            return stats | {name: dense[name] for name in (GRADIENT,) if name in dense}

        return stats_of


def tuning_of(plan: PruningPlan, make: NewWeights | NewBlocks) -> BlockTuning | None:
    """The tuning that sets the windows per step and block targets; None if nothing needs it."""
    return plan.repair.block or (make.tuning if isinstance(make, NewBlocks) else None)


def same_as_sequential(plan: PruningPlan) -> list[str]:
    """A note if the repair requests the order that sequential pruning uses anyway."""
    repair = plan.repair
    if not repair.walks or repair.block is not None:
        return []
    return [
        f"repair {repair.text!r} was done as {replace(repair, order='at once').text!r}: "
        "sequential pruning walks the blocks, scores and repair"
    ]


def record_block(
    stream: BlockStream, members: Sequence[PrunableLinear], needs: frozenset[str]
) -> BlockRecorder:
    """Record the current inputs of matrices of the next block."""
    block = stream.blocks[stream.position]
    with BlockRecorder(block, members, needs, inputs_only=True) as recorder:
        stream.run()
    return recorder


def leave_block(stream: BlockStream) -> None:
    """Carry the hidden states through the next block as it is."""
    if stream.position + 1 < len(stream.blocks):
        stream.advance()
    else:
        stream.step()  # the last block's output is never read


def _require_windows(plan: PruningPlan, windows: Tensor | None) -> None:
    if windows is not None or not plan.reads_text:
        return
    if plan.repair.recovery is not None and not plan.runs_blocks:
        raise UsageError(
            f"the repair {plan.repair.text!r} trains the model on calibration text and none is "
            "given; name a text, or a repair that reads none"
        )
    if plan.scoring != "dense":
        raise UsageError(
            f"{plan.scoring} pruning runs the blocks on calibration text and none is given; name a "
            "text, or score from dense statistics"
        )
    raise UsageError(
        f"the repair {plan.repair.text!r} runs the blocks on calibration text and none is "
        "given; name a text, or a repair that reads none"
    )
