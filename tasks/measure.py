"""Tasks that prune the whole model by a recipe, measure it, and put it back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.recipe import Recipe
from tasks.policies import step
from tasks.sandbox_scores import CandidateRejected
from tasks.search_bench import CALIBRATION, SEALED, SELECTION, SearchBench, find_search_bench

if TYPE_CHECKING:
    from autoprune.evaluation.perplexity import Evaluation
    from autoprune.pruning import PruneOutcome
    from autoprune.search.steps import Measurement


@step("prepare", "prepare {run_id}")
def prepare(bench_id: str, run_id: str) -> dict[str, Any]:
    """Load the model, split the text, collect statistics, remember the dense weights.

    Args:
        bench_id: Id of an open search workbench.
        run_id: The search, for the task's name.

    Returns:
        What the record says about model and text.
    """
    bench = find_search_bench(bench_id)
    started = time.monotonic()
    layers = bench.layers
    bench.calibrated(())
    parts = {}
    for name in (CALIBRATION, SELECTION, SEALED):
        corpus = getattr(bench.splits, name)
        windows = bench.part(name)
        parts[name] = {
            "documents": len(corpus.documents),
            "digest": corpus.digest,
            "windows": len(windows),
            "tokens": windows.numel(),
        }
    return {
        "model_digest": bench.loaded.source.digest,
        "blocks": layers[-1].block + 1,
        "prunable": bench.prunable,
        "layer_numel": {layer.name: layer.numel for layer in layers},
        "parts": parts,
        "seconds": time.monotonic() - started,
    }


@step("dense", "dense perplexity on {part}")
def measure_dense(bench_id: str, part: str) -> dict[str, Any]:
    """Measure the model before pruning on one part of the text."""
    bench = find_search_bench(bench_id)
    bench.dense.restore()
    result = _evaluate(bench, part, len(bench.part(part)))
    return {"perplexity": result.perplexity, "nll": list(result.nll), "tokens": result.tokens}


@step("measure", "measure {step_id}")
def measure(
    bench_id: str, step_id: str, recipe: dict[str, Any], windows: int, sparsity: float
) -> dict[str, Any]:
    """Prune by a recipe, measure on selection windows, restore the dense weights.

    Args:
        bench_id: Id of an open search workbench.
        step_id: Which step asks, for the task's name.
        recipe: JSON form of the recipe.
        windows: Use the first so many selection windows.
        sparsity: Share of zeros.

    Returns:
        JSON form of the outcome.
    """
    from autoprune.search.steps import Failed, outcome_to_json

    bench = find_search_bench(bench_id)
    started = time.monotonic()
    try:
        found = _measurement(bench, Recipe.from_json(recipe), SELECTION, windows, sparsity)
    except CandidateRejected as error:
        seconds = time.monotonic() - started
        return outcome_to_json(Failed(error.code, error.detail[:400], seconds))
    except UsageError as error:
        seconds = time.monotonic() - started
        return outcome_to_json(Failed("invalid", " ".join(str(error).split())[:400], seconds))
    return outcome_to_json(found)


@step("seal", "seal {step_id}")
def seal(
    bench_id: str,
    step_id: str,
    recipes: list[tuple[str, dict[str, Any]]],
    windows: int,
    sparsity: float,
) -> dict[str, Any]:
    """Measure the winner and the baselines on the sealed text, which nothing has seen.

    Args:
        bench_id: Id of an open search workbench.
        step_id: Which step asks, for the task's name.
        recipes: Recipe id and JSON form, the winner first.
        windows: Use the first so many sealed windows.
        sparsity: Share of zeros.

    Returns:
        JSON form of the outcome.
    """
    from autoprune.search.steps import Sealed, outcome_to_json

    bench = find_search_bench(bench_id)
    started = time.monotonic()
    found = {
        recipe_id: _measurement(bench, Recipe.from_json(body), SEALED, windows, sparsity)
        for recipe_id, body in recipes
    }
    return outcome_to_json(Sealed(found, time.monotonic() - started))


@contextmanager
def pruned(bench: SearchBench, recipe: Recipe, sparsity: float) -> Iterator["PruneOutcome"]:
    """The workbench's model pruned by a recipe; dense again afterwards, whatever happens.

    Args:
        bench: The search's workbench.
        recipe: What decides the masks and the repair.
        sparsity: Share of zeros.

    Raises:
        CandidateRejected: If the sandbox turns the metric away.
        UsageError: If the recipe or its scores make no sense.
    """
    key = digest_json([recipe.to_json(), sparsity])
    with bench.dense:
        outcome = bench.masks.apply(key, bench.layers)
        yield outcome if outcome is not None else _prune(bench, recipe, sparsity, key)


def _prune(bench: SearchBench, recipe: Recipe, sparsity: float, key: str) -> "PruneOutcome":
    from autoprune.pruning import PruningPlan, prune_one_shot
    from autoprune.solvers import Plain
    from tasks.scoring import score_function

    plan = PruningPlan.of_recipe(recipe, sparsity, pattern=bench.spec.pattern, seed=bench.seed)
    statistics = bench.calibrated(plan.needs)
    outcome = prune_one_shot(
        bench.layers,
        score_function(bench, recipe.metric, bench.layers),
        plan,
        statistics=statistics,
        context=bench.context_for(statistics),
        report=bench.report,
    )
    if isinstance(plan.solver, Plain):
        bench.masks.keep(key, outcome)
    return outcome


def _measurement(
    bench: SearchBench, recipe: Recipe, part: str, windows: int, sparsity: float
) -> "Measurement":
    from autoprune.search.steps import Measurement

    started = time.monotonic()
    with pruned(bench, recipe, sparsity) as outcome:
        result = _evaluate(bench, part, windows)
    return Measurement(
        nll=tuple(result.nll),
        tokens=result.tokens,
        perplexity=result.perplexity,
        layer_sparsity=dict(outcome.layer_sparsity),
        mask_digest=outcome.mask_digest,
        sparsity=outcome.sparsity,
        seconds=time.monotonic() - started,
    )


def _evaluate(bench: SearchBench, part: str, windows: int) -> "Evaluation":
    from autoprune.evaluation.perplexity import evaluate_windows

    tokens = bench.part(part)[:windows]
    return evaluate_windows(bench.loaded.model, tokens, report=bench.report)
