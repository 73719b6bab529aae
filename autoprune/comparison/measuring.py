"""Prune a model in place for one cell, and check that the zeros are where they belong."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.allocation import ModelContext
from autoprune.bench.calibration import DrawStatistics
from autoprune.bench.programs import check_plan, prune_by_program
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.candidate import CandidateRejectedError
from autoprune.comparison.methods import Method, seeded_metric
from autoprune.comparison.plan import Target
from autoprune.errors import AutopruneError
from autoprune.evaluation.perplexity import Evaluation
from autoprune.masking import NM, budget_zeros, nm_quotas, parse_pattern
from autoprune.models.loading import LoadedModel
from autoprune.models.structure import PrunableLinear
from autoprune.programs import ProgramRunner
from autoprune.progress import Report, silent
from autoprune.pruning import MetricScore, Precision, PruneOutcome, PruningPlan, prune


def plan_of(
    method: Method, target: Target, seed: int, precision: Precision = "auto"
) -> PruningPlan:
    """Build the pruning plan of a cell.

    Raises:
        UsageError: If method and budget contradict each other.
    """
    if target.pattern in Budget.OF_SCHEMES:
        _ = target.budget.share
    plan = PruningPlan.build(
        target.sparsity,
        group=method.group,
        pattern=target.pattern,
        allocation=method.allocation,
        solver=method.solver,
        seed=seed,
        precision=precision,
        scoring=method.statistics,
    )
    if method.program is not None:
        check_plan(plan, method.program)
    return plan


def needs_of(method: Method) -> frozenset[str]:
    """Return the statistics of the dense model that a method reads."""
    if method.peer is not None or method.scheme:
        return frozenset()
    plan = plan_of(method, Target(0.5), 0)
    return plan.needs if method.program else plan.dense_needs(seeded_metric(method, 0).needs)


def reads_text(method: Method) -> bool:
    """Whether the calibration draw can change the method's result."""
    if method.scheme:
        return Shrinking.parse(method.scheme).reads_text
    if method.peer is not None or method.program is not None or needs_of(method):
        return True
    plan = plan_of(method, Target(0.5), 0)
    repair = plan.repair
    # Block tuning and recovery read windows, whatever statistics the masks need.
    tunes = repair.block is not None or repair.fresh_windows > 0
    return tunes or bool(seeded_metric(method, 0).needs | repair.needs)


def prune_by(
    method: Method,
    target: Target,
    seed: int,
    *,
    loaded: LoadedModel,
    layers: Sequence[PrunableLinear],
    windows: Tensor,
    shared: DrawStatistics,
    context: ModelContext,
    fresh: Tensor | None = None,
    precision: Precision = "auto",
    runner: ProgramRunner | None = None,
    report: Report = silent,
) -> PruneOutcome:
    """Prune the dense model in place.

    Args:
        method: The method, which decides masks and repair.
        target: The budget.
        seed: Number of the calibration draw.
        loaded: The model.
        layers: Its prunable layers.
        windows: The draw, int64 [n, s].
        shared: The draw's statistics.
        context: Input of the allocators, based on ``shared``.
        fresh: Windows that are not in the draw, for a recovery.
        precision: See :class:`autoprune.pruning.PruningPlan`.
        runner: Runs a method that is a program.
        report: Progress callback.

    Raises:
        UsageError: If method and budget contradict each other, or a program has no runner.
        AutopruneError: If the sandbox rejects a program, or the weights do not have the promised
            zeros afterwards.
    """
    plan = plan_of(method, target, seed, precision)
    needs = needs_of(method)
    if method.program is not None:
        try:
            outcome = prune_by_program(
                loaded.model,
                method.program,
                runner,
                plan,
                windows=windows,
                fresh=fresh,
                layers=layers,
                statistics=shared.require(needs) if needs else None,
                context=context,
                report=report,
            )
        except CandidateRejectedError as error:
            raise AutopruneError(f"the sandbox rejects {method.metric} ({error})") from error
        check_zeros(layers, outcome.keep, target)
        return outcome
    outcome = prune(
        loaded.model,
        MetricScore(seeded_metric(method, seed)),
        plan,
        windows=windows,
        fresh=fresh,
        layers=layers,
        statistics=shared.require(needs) if needs else None,
        context=context,
        report=report,
    )
    check_zeros(layers, outcome.keep, target)
    return outcome


@torch.no_grad()
def check_zeros(
    layers: Sequence[PrunableLinear], keep: Mapping[str, Tensor], target: Target
) -> None:
    """Check the weights themselves: the exact budget, and N:M in every group.

    Raises:
        AutopruneError: If a pruned weight is not zero, the number of pruned weights does not match
            the budget, or the number of zeros in a group does not match the pattern.
    """
    pattern = parse_pattern(target.pattern)
    zeros = 0
    for layer in layers:
        mask = keep[layer.name]
        weight = layer.read()
        pruned = ~mask.to(weight.device)
        left = int(torch.count_nonzero(weight * pruned))
        if left:
            raise AutopruneError(f"{layer.name} keeps {left} weights that its mask removes")
        zeros += int(pruned.sum())
        if pattern is not None:
            _check_groups(layer, pruned, pattern)
    numels = {layer.name: layer.numel for layer in layers}
    if pattern is not None:
        wanted = sum(nm_quotas(numels, pattern).values())
    else:
        wanted = budget_zeros(target.sparsity, sum(numels.values()))
    if zeros != wanted:
        raise AutopruneError(f"{zeros} weights are pruned, {target.label} means {wanted}")


def require_divisible(layers: Sequence[PrunableLinear], targets: Sequence[Target]) -> None:
    """Refuse N:M patterns that do not divide every layer, before anything is measured.

    Raises:
        UsageError: If a pattern does not divide a layer; names the first such layer.
    """
    for target in targets:
        scheme = target.pattern in Budget.OF_SCHEMES
        pattern = None if scheme else parse_pattern(target.pattern)
        if pattern is not None:
            for layer in layers:
                pattern.check(layer.name, layer.shape[1])


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """Convert a measurement to plain JSON."""
    return {
        "nll": list(found.nll),
        "tokens": found.tokens,
        "perplexity": found.perplexity,
        "seconds": found.seconds,
    }


def _check_groups(layer: PrunableLinear, pruned: Tensor, pattern: NM) -> None:
    counts = pruned.reshape(pruned.shape[0], -1, pattern.of).sum(dim=2)
    if not bool((counts == pattern.zeros).all()):
        raise AutopruneError(f"{layer.name} has groups that do not follow the pattern {pattern}")
