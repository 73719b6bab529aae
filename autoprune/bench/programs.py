"""Prune a model by a program: code shared by all entry points."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import ModelContext
from autoprune.bench.block_programs import ProgramBlocks
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import InfiniteActivationError, UsageError
from autoprune.models.structure import PrunableLinear
from autoprune.program_files import prunes_blocks
from autoprune.programs import ProgramRunner, ProgramWeights, weights_digest
from autoprune.progress import Report, silent
from autoprune.pruning import PruneOutcome, PruningPlan, layer_budgets, new_weights
from autoprune.pruning.masks import dense_stats
from autoprune.pruning.recovery import Recovery
from autoprune.statistics.statistics import Statistics, collect_statistics


def check_plan(plan: PruningPlan, program: Candidate) -> None:
    """Refuse a plan that a program cannot follow.

    Raises:
        UsageError: If weights of several layers compete, if a layer repair would change the new
            weights, if layers would see the inputs of the dense model, or if a block program, which
            prunes a whole block at once, is to prune it in steps.
    """
    if plan.pattern is None and plan.group not in ("row", "matrix"):
        raise UsageError(
            f"a program has a budget for each matrix, and in the comparison group "
            f"{plan.group!r} weights of several compete; take row or matrix"
        )
    if plan.scoring == "true-sequential" and prunes_blocks(program.source):
        raise UsageError(
            "a block program prunes all matrices of a block at once, and true-sequential goes step "
            "by step; take sequential statistics"
        )
    if plan.repair.layer:
        raise UsageError(
            f"a program moves the weights that stay by itself, and the repair {plan.repair.text!r} "
            "would begin from the dense ones; leave it out, or take ebft, which goes on from there"
        )
    if plan.scoring == "dense":
        raise UsageError(
            "a program gets the inputs that its layer really has, block after block; take "
            "sequential or true-sequential statistics"
        )


def required(runner: ProgramRunner | None) -> ProgramRunner:
    """Return the runner.

    Raises:
        UsageError: If it is None.
    """
    if runner is None:
        raise UsageError(
            "a program runs only in the sandbox, and none was handed in; take `autoprune prune "
            "--program`, or pass a runner such as tasks.programs.SandboxPrograms"
        )
    return runner


def maker(
    program: Candidate,
    runner: ProgramRunner | None,
    quotas: Mapping[str, int],
    plan: PruningPlan,
    blocks: int,
) -> ProgramWeights | ProgramBlocks:
    """Wrap a program as the provider of new weights for layers or blocks.

    Args:
        program: A candidate of kind ``program``.
        runner: Runs it; None is refused, since designed code never runs in our own process.
        quotas: Zeros per layer.
        plan: Group, pattern and type of the saved weights.
        blocks: Number of blocks of the model.

    Raises:
        UsageError: See :func:`check_plan`, or if there is no runner.
    """
    check_plan(plan, program)
    group = cast(Literal["row", "matrix"], plan.group)
    kind = ProgramBlocks if prunes_blocks(program.source) else ProgramWeights
    return kind(required(runner), program, quotas, group, plan.pattern, plan.saved, blocks)


@torch.no_grad()
def prune_by_program(
    model: PreTrainedModel,
    program: Candidate,
    runner: ProgramRunner | None,
    plan: PruningPlan,
    *,
    windows: Tensor,
    layers: Sequence[PrunableLinear],
    fresh: Tensor | None = None,
    statistics: Statistics | None = None,
    context: ModelContext | None = None,
    batch_tokens: int = 2048,
    report: Report = silent,
) -> PruneOutcome:
    """Prune a model in place by a program, block by block.

    Args:
        model: The dense model, in eval mode.
        program: A candidate of kind ``program``.
        runner: Runs it; see :func:`maker`.
        plan: Budget, group, allocation, scoring and, optionally, block tuning and a recovery.
        windows: Calibration token ids, int64 [n, s].
        layers: Its prunable layers in model order.
        fresh: Other windows of the same text, for a recovery.
        statistics: Statistics of the dense model that the allocation reads; collected when None.
        context: Context from an earlier call on the same dense weights.
        batch_tokens: Tokens per forward pass of a block.
        report: Called after every block.

    Raises:
        CandidateRejectedError: If the program is rejected, or its new weights make an activation
            infinite; earlier blocks are pruned by then.
        UsageError: If the plan is not for a program, or there is no runner.
    """
    start = time.perf_counter()
    check_plan(plan, program)
    plan.refuse_unseen()
    if statistics is None and plan.needs:
        statistics = collect_statistics(model, windows, needs=plan.needs, batch_tokens=batch_tokens)
    quotas = layer_budgets(plan, context or ModelContext(layers, statistics, plan.seed))
    make = maker(program, runner, quotas, plan, 1 + max(layer.block for layer in layers))
    recovery = Recovery.taught(model, plan, windows, fresh, report)
    try:
        keep, notes = new_weights(
            model, layers, make, plan, dense_stats(statistics), windows, batch_tokens, report
        )
    except InfiniteActivationError as error:
        if not make.last:
            raise  # the dense model itself overflows
        raise CandidateRejectedError(
            "nan_weights",
            f"the new weights up to {make.last} are finite, but so large that a later layer has an "
            "input that is infinite or not a number; keep them near the size of W",
        ) from error
    finally:
        make.runner.done()
    notes += recovery.run(layers, keep) if recovery else []
    outcome = PruneOutcome.of_masks(keep, time.perf_counter() - start, notes)
    errors = tuple(make.errors) if isinstance(make, ProgramBlocks) else ()
    return replace(outcome, weights_digest=weights_digest(layers), block_errors=errors)
