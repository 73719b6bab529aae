"""Apply a recipe to a bench's model, from remembered results where possible."""

from dataclasses import replace
from typing import TYPE_CHECKING

from autoprune.bench.programs import ByProgram
from autoprune.candidate import Candidate
from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.masking.pattern import UNSTRUCTURED
from autoprune.pruning import PruneOutcome, PruningPlan, Score, prune, repair_masks
from autoprune.repair import NONE, Repair

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench
    from autoprune.bench.mask_memory import MaskMemory
    from autoprune.budget import Budget
    from autoprune.recipe import Recipe


def prune_on(
    bench: "Bench",
    recipe: "Recipe",
    budget: "Budget",
    draw: int,
    memory: "MaskMemory",
    calibration: int | None = None,
) -> PruneOutcome:
    """Prune in place: from memory, by a recipe, or by masks kept from another repair.

    Args:
        bench: A bench whose weights are dense.
        recipe: Determines the masks and the repair.
        budget: How many weights to prune.
        draw: Draw of calibration text.
        memory: Where masks are looked up and kept.
        calibration: Windows of the draw to send through the blocks, from the first; None: all.

    Raises:
        CandidateRejectedError: If the scorer rejects the metric.
        UsageError: If the recipe or its scores are invalid.
    """
    key = _key(recipe, budget, draw, calibration)
    known = memory.apply(key, bench.layers, bench.vectors)
    if known is not None:
        return known
    plan = PruningPlan.of_recipe(
        recipe, budget.share, pattern=budget.pattern or UNSTRUCTURED, seed=bench.seed
    )
    if plan.scoring == "dense":
        bare_key = _key(replace(recipe, solver=NONE), budget, draw)
        masks = memory.masks(bare_key)
        if masks is None:
            outcome = prune_by(bench, recipe.metric, replace(plan, repair=Repair()), draw)
            memory.keep(bare_key, outcome)
            if not plan.repair.acts:
                return outcome
            masks = dict(outcome.keep)
            bench.dense.restore()
        outcome = repair_masks(
            bench.loaded.model,
            masks,
            plan,
            windows=bench.drawn_windows(draw)[:calibration],
            fresh=bench.fresh_windows(plan.repair.fresh_windows, draw),
            layers=bench.layers,
            statistics=None if plan.runs_blocks else bench.calibrated(plan.needs, draw),
            report=bench.report,
        )
    elif recipe.metric.kind == "python":
        raise UsageError(
            "a Python metric is scored once, from statistics of the dense model; leave out "
            f"{plan.scoring!r}, or write the metric as a formula"
        )
    else:
        # Masks and repair together, since those of a block depend on the blocks before it.
        outcome = prune_by(bench, recipe.metric, plan, draw, calibration)
    if outcome.weights_digest:
        # Programs with the same masks but different weights count as two.
        outcome = replace(outcome, mask_digest=outcome.weights_digest)
    moved = bench.vectors if plan.repair.moves_vectors else {}
    memory.keep(key, outcome, bench.layers, moved)
    return outcome


def prune_by(
    bench: "Bench", metric: Candidate, plan: PruningPlan, draw: int, calibration: int | None = None
) -> PruneOutcome:
    """Prune in place by a metric's scores or by a program; nothing is remembered.

    Args:
        bench: A bench whose weights are dense.
        metric: For the bench's scorer, or a program for its runner.
        plan: Budget, group, allocation, repair and their order.
        draw: Draw of calibration text.
        calibration: As for :func:`prune_on`.

    Raises:
        CandidateRejectedError: If the scorer or the runner rejects designed code.
        UsageError: If a part of the plan or a score is invalid.
    """
    by: Score | ByProgram
    if metric.kind == "program":
        by = ByProgram(metric, bench.programs, quick=calibration is not None)
    else:
        by = bench.scorer.score(bench, metric, bench.layers, draw)
    statistics = bench.calibrated(plan.dense_needs(by.needs), draw)
    return prune(
        bench.loaded.model,
        by,
        plan,
        windows=bench.drawn_windows(draw)[:calibration],
        fresh=bench.fresh_windows(plan.repair.fresh_windows, draw),
        layers=bench.layers,
        # Those shared by a comparison hold nothing until a method reads some.
        statistics=statistics if statistics.layers else None,
        context=bench.context_for(statistics, plan.seed),
        report=bench.report,
    )


def _key(recipe: "Recipe", budget: "Budget", draw: int, calibration: int | None = None) -> str:
    few = [] if calibration is None else [calibration]
    return digest_json([recipe.to_json(), budget.sparsity, budget.pattern, draw, *few])
