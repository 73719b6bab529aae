"""Prune from scores of the dense model, and repair all layers at once or block after block."""

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import ModelContext
from autoprune.calibration.statistics import Statistics
from autoprune.errors import UsageError
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent
from autoprune.pruning import (
    PruneOutcome,
    PruningPlan,
    Score,
    layer_budgets,
    masks_from_scores,
    prune_one_shot,
    repair_layer,
)
from autoprune.sequential import leave_block, record_block
from autoprune.tuning import BlockGoals, tune_block, windows_per_batch


def prune_from_scores(
    model: PreTrainedModel,
    windows: Tensor | None,
    layers: Sequence[PrunableLinear],
    score: Score,
    plan: PruningPlan,
    *,
    statistics: Statistics | None = None,
    context: ModelContext | None = None,
    report: Report = silent,
) -> PruneOutcome:
    """Prune in place from scores of the dense model, whether the plan's repair walks or not.

    Args:
        model: In eval mode, dense.
        windows: Calibration token ids, int64 [n, s]; read by a repair that walks, None without one.
        layers: Prunable layers in model order.
        score: Scores of a layer, [o, i], larger means keep.
        plan: Budget, group, allocation and repair.
        statistics: Statistics of the dense model that ``plan.needs`` names.
        context: See :func:`autoprune.pruning.prune_one_shot`.
        report: Told about masks and repair.

    Raises:
        UsageError: If a part of the plan or a score makes no sense.
    """
    if not plan.repair.walks:
        return prune_one_shot(
            layers, score, plan, statistics=statistics, context=context, report=report
        )
    if windows is None:
        raise UsageError(
            f"the repair {plan.repair.text!r} runs the blocks on calibration text and none is "
            "given; name a text, or a repair that reads none"
        )
    start = time.perf_counter()
    quotas = layer_budgets(plan, context or ModelContext(layers, statistics, plan.seed))
    masks = masks_from_scores(score, layers, quotas, plan, report=report)
    repaired = repair_walking(model, windows, layers, masks, plan, report=report)
    notes = [*(statistics.notes if statistics is not None else ()), *repaired.notes]
    return PruneOutcome.of_masks(repaired.keep, time.perf_counter() - start, notes)


@torch.no_grad()
def repair_walking(
    model: PreTrainedModel,
    windows: Tensor,
    layers: Sequence[PrunableLinear],
    masks: Mapping[str, Tensor],
    plan: PruningPlan,
    *,
    batch_tokens: int = 2048,
    report: Report = silent,
) -> PruneOutcome:
    """Repair dense layers on given masks; each block reads what the repaired ones before it give.

    Within a block all layers read the inputs that the block has while it is dense, as in
    :func:`autoprune.sequential.prune_sequential`.

    Args:
        model: In eval mode, dense.
        windows: Calibration token ids, int64 [n, s].
        layers: Prunable layers in model order.
        masks: Keep mask per layer, bool [o, i].
        plan: Repair and pattern.
        batch_tokens: Tokens per forward pass of a block.
        report: Told after every block.
    """
    start = time.perf_counter()
    batch = windows_per_batch(windows, batch_tokens, plan.repair.block)
    stream = BlockStream(model, windows, batch=batch)
    how = plan.repair.block
    tuning = BlockGoals(stream, how) if how is not None else None
    kept: dict[str, Tensor] = {}
    notes: list[str] = []
    for index in range(len(stream.blocks)):
        members = [layer for layer in layers if layer.block == index]
        goals = tuning.of_next() if tuning else []
        if members:
            seen: Mapping[str, Mapping[str, Tensor]] = {}
            if plan.repair.needs:
                recorder = record_block(stream, members, plan.repair.needs)
                seen = recorder.results()
                notes.extend(recorder.notes)
            for layer in members:
                stats = seen.get(layer.name, {})
                kept[layer.name], said = repair_layer(layer, masks[layer.name], stats, plan)
                notes.extend(said)
            if tuning:
                how, precision = tuning.how, plan.precision
                notes.extend(tune_block(stream, members, kept, goals, how, plan.seed, precision))
        leave_block(stream)
        report(Progress("repair", index + 1, len(stream.blocks)))
    ordered = {layer.name: kept[layer.name] for layer in layers}
    return PruneOutcome.of_masks(ordered, time.perf_counter() - start, notes)
