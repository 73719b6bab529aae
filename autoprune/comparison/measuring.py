"""Prune a model in place for one cell, and check that the zeros are where they belong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autoprune.bench.bench import Bench
from autoprune.bench.programs import by_candidate, check_plan
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.candidate import CandidateRejectedError
from autoprune.comparison.methods import Method
from autoprune.comparison.plan import Target
from autoprune.errors import AutopruneError
from autoprune.masking import NM, budget_zeros, nm_quotas, parse_pattern
from autoprune.models.structure import PrunableLinear
from autoprune.pruning import Precision, PruneOutcome, PruningPlan


def plan_of(
    method: Method, target: Target, seed: int, precision: Precision = "auto"
) -> PruningPlan:
    """Build the pruning plan of a cell."""
    if target.pattern in Budget.OF_SCHEMES:
        _ = target.budget.share
    recipe = method.recipe(seed)
    plan = PruningPlan.of_recipe(
        recipe, target.sparsity, pattern=target.pattern, seed=seed, precision=precision
    )
    if method.source:
        check_plan(plan, recipe.metric)
    return plan


def needs_of(method: Method) -> frozenset[str]:
    """Return the statistics of the dense model that a method reads."""
    if method.peer is not None or method.scheme:
        return frozenset()
    scored = by_candidate(method.recipe().metric).needs
    return plan_of(method, Target(0.5), 0).dense_needs(scored)


def reads_text(method: Method) -> bool:
    """Whether the calibration draw can change the method's result."""
    if method.scheme:
        return Shrinking.parse(method.scheme).reads_text
    if method.peer is not None or method.source:
        return True
    # The order alone changes nothing where neither scores nor repair read text.
    plan = replace(plan_of(method, Target(0.5), 0), scoring="dense")
    return plan.uses_text(by_candidate(method.recipe().metric).needs)


def prune_cell(
    bench: Bench,
    method: Method,
    target: Target,
    seed: int = 0,
    draw: int = 0,
    precision: Precision = "auto",
) -> PruneOutcome:
    """Prune the bench's dense model in place."""
    plan = plan_of(method, target, seed, precision)
    try:
        outcome = bench.prune_by(method.recipe(seed).metric, plan, draw)
    except CandidateRejectedError as error:
        raise AutopruneError(f"the sandbox rejects {method.metric} ({error})") from error
    check_zeros(bench.layers, outcome.keep, target)
    return outcome


@torch.no_grad()
def check_zeros(
    layers: Sequence[PrunableLinear], keep: Mapping[str, Tensor], target: Target
) -> None:
    """Check the weights themselves: the exact budget, and N:M in every group."""
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
    """Refuse N:M patterns that do not divide every layer, before anything is measured."""
    for target in targets:
        scheme = target.pattern in Budget.OF_SCHEMES
        pattern = None if scheme else parse_pattern(target.pattern)
        if pattern is not None:
            for layer in layers:
                pattern.check(layer.name, layer.shape[1])


def _check_groups(layer: PrunableLinear, pruned: Tensor, pattern: NM) -> None:
    counts = pruned.reshape(pruned.shape[0], -1, pattern.of).sum(dim=2)
    if not bool((counts == pattern.zeros).all()):
        raise AutopruneError(f"{layer.name} has groups that do not follow the pattern {pattern}")
