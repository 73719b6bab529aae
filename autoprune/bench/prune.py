"""Apply a recipe to a bench's model, from remembered results where possible."""

from dataclasses import replace
from typing import TYPE_CHECKING

from autoprune.bench.programs import prune_by_program
from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.masking.pattern import UNSTRUCTURED
from autoprune.pruning import PruneOutcome, PruningPlan, prune, repair_masks
from autoprune.repair import NONE, Repair

if TYPE_CHECKING:
    from torch import nn

    from autoprune.bench.bench import Bench
    from autoprune.bench.mask_memory import MaskMemory
    from autoprune.budget import Budget
    from autoprune.recipe import Recipe


def prune_on(
    bench: "Bench", recipe: "Recipe", budget: "Budget", draw: int, memory: "MaskMemory"
) -> PruneOutcome:
    """Prune in place: from memory, by scores, or by masks kept from another repair.

    Args:
        bench: A bench whose weights are dense.
        recipe: Determines the masks and the repair.
        budget: How many weights to prune.
        draw: Draw of calibration text.
        memory: Where masks are looked up and kept.

    Raises:
        CandidateRejectedError: If the scorer rejects the metric.
        UsageError: If the recipe or its scores are invalid.
    """
    key = _key(recipe, budget, draw)
    known = memory.apply(key, bench.layers, bench.vectors)
    if known is not None:
        return known
    plan = PruningPlan.of_recipe(
        recipe, budget.share, pattern=budget.pattern or UNSTRUCTURED, seed=bench.seed
    )
    if recipe.metric.kind == "program":
        return _prune_by_program(bench, recipe, plan, key, draw, memory)
    if plan.scoring != "dense":
        return _prune_by_blocks(bench, recipe, plan, key, draw, memory)
    bare_key = _key(replace(recipe, solver=NONE), budget, draw)
    masks = memory.masks(bare_key)
    if masks is None:
        score = bench.scorer.score(bench, recipe.metric, bench.layers, draw)
        statistics = bench.calibrated(plan.dense_needs(score.needs), draw)
        outcome = prune(
            bench.loaded.model,
            score,
            replace(plan, repair=Repair()),
            layers=bench.layers,
            statistics=statistics,
            context=bench.context_for(statistics),
            report=bench.report,
        )
        memory.keep(bare_key, outcome)
        if not plan.repair.acts:
            return outcome
        masks = dict(outcome.keep)
        bench.dense.restore()
    repaired = repair_masks(
        bench.loaded.model,
        masks,
        plan,
        windows=bench.drawn_windows(draw),
        fresh=bench.fresh_windows(plan.repair.fresh_windows, draw),
        layers=bench.layers,
        statistics=None if plan.runs_blocks else bench.calibrated(plan.needs, draw),
        report=bench.report,
    )
    memory.keep(key, repaired, bench.layers, _moved(bench, plan))
    return repaired


def _prune_by_program(
    bench: "Bench", recipe: "Recipe", plan: PruningPlan, key: str, draw: int, memory: "MaskMemory"
) -> PruneOutcome:
    statistics = bench.calibrated(plan.needs, draw)
    outcome = prune_by_program(
        bench.loaded.model,
        recipe.metric,
        bench.programs,
        plan,
        windows=bench.drawn_windows(draw),
        fresh=bench.fresh_windows(plan.repair.fresh_windows, draw),
        layers=bench.layers,
        statistics=statistics,
        context=bench.context_for(statistics),
        report=bench.report,
    )
    # Programs with the same masks but different weights count as two.
    outcome = replace(outcome, mask_digest=outcome.weights_digest)
    memory.keep(key, outcome, bench.layers, _moved(bench, plan))
    return outcome


def _prune_by_blocks(
    bench: "Bench", recipe: "Recipe", plan: PruningPlan, key: str, draw: int, memory: "MaskMemory"
) -> PruneOutcome:
    """Make masks and repairs together, since those of a block depend on the blocks before it."""
    if recipe.metric.kind == "python":
        raise UsageError(
            "a Python metric is scored once, from statistics of the dense model; leave out "
            f"{plan.scoring!r}, or write the metric as a formula"
        )
    score = bench.scorer.score(bench, recipe.metric, bench.layers, draw)
    statistics = bench.calibrated(plan.dense_needs(score.needs), draw)
    outcome = prune(
        bench.loaded.model,
        score,
        plan,
        windows=bench.drawn_windows(draw),
        fresh=bench.fresh_windows(plan.repair.fresh_windows, draw),
        layers=bench.layers,
        statistics=statistics,
        context=bench.context_for(statistics),
        report=bench.report,
    )
    memory.keep(key, outcome, bench.layers, _moved(bench, plan))
    return outcome


def _moved(bench: "Bench", plan: PruningPlan) -> "dict[str, nn.Parameter]":
    """Norms and biases, if the repair may have moved them."""
    return bench.vectors if plan.repair.moves_vectors else {}


def _key(recipe: "Recipe", budget: "Budget", draw: int) -> str:
    return digest_json([recipe.to_json(), budget.sparsity, budget.pattern, draw])
