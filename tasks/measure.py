"""Tasks that prune the whole model by a recipe, measure it, and put it back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from autoprune.digest import digest_json
from autoprune.errors import DamagedStatisticsError, UsageError
from autoprune.recipe import Recipe
from tasks.mask_memory import MaskMemory
from tasks.overlap import shared_text
from tasks.policies import step
from tasks.sandbox_scores import CandidateRejectedError
from tasks.sealed_touches import standing, touch
from tasks.search_bench import CALIBRATION, SEALED, SELECTION, SearchBench, find_search_bench
from tasks.state import folder_tag

if TYPE_CHECKING:
    from autoprune.evaluation.perplexity import Evaluation
    from autoprune.pruning import PruneOutcome
    from autoprune.search.steps import Failed, Measurement


@step("prepare", "prepare {run_id}")
def prepare(bench_id: str, run_id: str) -> dict[str, Any]:
    """Load the model, split the text, collect statistics, remember the dense weights.

    Args:
        bench_id: Id of an open search workbench.
        run_id: The search, for the task's name.

    Returns:
        What the record says about model and text.
    """
    from autoprune.models.gguf_reading import quantisation
    from autoprune.text.beginning import beginning_rule
    from autoprune.text.windows import WINDOWS_VERSION, fewer_than_asked

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
        "beginning_token": beginning_rule(bench.loaded.tokenizer),
        "windows_version": WINDOWS_VERSION,
        "fewer_windows": fewer_than_asked(
            f"the sealed part of {bench.spec.corpus}",
            parts[SEALED]["windows"],
            bench.spec.sealed_windows,
            bench.spec.seqlen,
        ),
        "sealed_set": standing(bench.state, bench.splits, _look_of(bench)).to_json(),
        "quantised": quantisation(bench.loaded.source),
        "overlap": shared_text(bench.splits),
        "seconds": time.monotonic() - started,
    }


@step("look at the seal", "{run_id} opens the sealed text")
def note_look(bench_id: str, run_id: str) -> dict[str, Any]:
    """Note the search's one look at the sealed text, before anything is measured there.

    Args:
        bench_id: Id of an open search workbench.
        run_id: The search, for the task's name.

    Returns:
        ``sealed_looks``: looks of whatever run so far, this one included; ``sealed_set``: what was
        known of the set before it.
    """
    bench = find_search_bench(bench_id)
    splits, look = bench.splits, _look_of(bench)
    known = standing(bench.state, splits, look).to_json()
    text, whole = splits.sealed.digest, splits.whole
    looks = touch(bench.state, text, look, whole, kind="search", splits=splits)
    return {"sealed_looks": looks, "sealed_set": known}


def _look_of(bench: SearchBench) -> str:
    """Name of a search in the ledger; two state folders may have searches of one name."""
    return f"search {bench.run_id}, {folder_tag(bench.state)}"


@step("dense", "dense perplexity on {part}")
def measure_dense(bench_id: str, part: str) -> dict[str, Any]:
    """Measure the model before pruning on one part of the text."""
    bench = find_search_bench(bench_id)
    bench.dense.restore()
    result = _evaluate(bench, part, len(bench.part(part)))
    found = {"perplexity": result.perplexity, "nll": list(result.nll), "tokens": result.tokens}
    return found | {"seconds": result.seconds}


@step("measure", "measure {step_id}")
def measure(
    bench_id: str,
    step_id: str,
    recipe: dict[str, Any] | None,
    windows: int,
    sparsity: float,
    draw: int = 0,
    kl: bool = False,
    known: int = 0,
    fresh: bool = False,
    keep: bool = False,
) -> dict[str, Any]:
    """Prune by a recipe, measure on selection windows, restore the dense weights.

    Args:
        bench_id: Id of an open search workbench.
        step_id: Which step asks, for the task's name.
        recipe: JSON form of the recipe; None: the dense model. It is not put back before, so that
            one that a recipe left pruned is found out.
        windows: Use the first so many selection windows.
        sparsity: Share of zeros.
        draw: Which draw of calibration text the statistics come from.
        kl: Also measure the distance to the dense model.
        known: Leave out the first so many of the windows.
        fresh: Compute masks and repair anew, whatever is remembered of the recipe, so that a
            sentinel sees scores, budgets and repairs that drifted; statistics that are not those of
            the store are a failure.
        keep: Remember what ``fresh`` gave, in the place of what was remembered.

    Returns:
        JSON form of the outcome.
    """
    from autoprune.search.steps import outcome_to_json

    bench = find_search_bench(bench_id)

    def work() -> "Measurement":
        with bench.drawn(draw):
            if recipe is None:
                return _dense_measurement(bench, windows)
            parts = (bench, Recipe.from_json(recipe), SELECTION, windows, sparsity)
            memory = MaskMemory() if fresh else bench.masks
            if fresh:
                bench.verify_statistics()
            found = _measurement(*parts, kl=kl, known=known, memory=memory)
            if keep:
                bench.masks.adopt(memory)
            return found

    return outcome_to_json(_tried(work))


@step("seal", "seal {step_id}")
def seal(
    bench_id: str,
    step_id: str,
    recipes: list[tuple[str, dict[str, Any]]],
    windows: int,
    sparsity: float,
) -> dict[str, Any]:
    """Measure the winner and the baselines on the sealed text, after :func:`note_look`.

    A recipe that cannot be measured is left out with the reason: an error would end the search, and
    each time it is taken up again the others would read the sealed text once more.

    Args:
        bench_id: Id of an open search workbench.
        step_id: Which step asks, for the task's name.
        recipes: Recipe id and JSON form, the winner first.
        windows: Use the first so many sealed windows.
        sparsity: Share of zeros.

    Returns:
        JSON form of the outcome.
    """
    from autoprune.search.steps import Failed, Measurement, Sealed, outcome_to_json

    bench = find_search_bench(bench_id)
    started = time.monotonic()
    found: dict[str, Measurement] = {}
    failures: dict[str, Failed] = {}
    for recipe_id, body in recipes:
        parts = (bench, Recipe.from_json(body), SEALED, windows, sparsity)
        outcome = _tried(partial(_measurement, *parts))
        if isinstance(outcome, Failed):
            failures[recipe_id] = outcome
        else:
            found[recipe_id] = outcome
    return outcome_to_json(Sealed(found, time.monotonic() - started, failures))


def _tried(work: "Callable[[], Measurement]") -> "Measurement | Failed":
    """What a measurement gives; a recipe that is turned away or makes no sense is a verdict."""
    from autoprune.search.steps import Failed

    started = time.monotonic()
    try:
        return work()
    except CandidateRejectedError as error:
        return Failed(error.code, error.detail[:400], time.monotonic() - started)
    except UsageError as error:
        detail = " ".join(str(error).split())[:400]
        return Failed("invalid", detail, time.monotonic() - started)
    except DamagedStatisticsError as error:
        return Failed("statistics", str(error)[:400], time.monotonic() - started)


@contextmanager
def pruned(
    bench: SearchBench, recipe: Recipe, sparsity: float, *, memory: MaskMemory | None = None
) -> Iterator["PruneOutcome"]:
    """The workbench's model pruned by a recipe; dense again afterwards, whatever happens.

    Args:
        bench: The search's workbench.
        recipe: What decides the masks and the repair.
        sparsity: Share of zeros.
        memory: Where masks are looked up and kept; None: the workbench's.

    Raises:
        CandidateRejectedError: If the sandbox turns the metric away.
        UsageError: If the recipe or its scores make no sense.
    """
    key = digest_json([recipe.to_json(), sparsity, bench.draw])
    memory = bench.masks if memory is None else memory
    with bench.dense:
        outcome = memory.apply(key, bench.layers)
        yield outcome if outcome is not None else _prune(bench, recipe, sparsity, key, memory)


def _prune(
    bench: SearchBench, recipe: Recipe, sparsity: float, key: str, memory: MaskMemory
) -> "PruneOutcome":
    """Prune by scores, or by masks that another repair of them left behind; then repair."""
    from autoprune.pruning import PruningPlan, prune, repair_masks
    from autoprune.repair import NONE, Repair
    from tasks.scoring import score_function

    plan = PruningPlan.of_recipe(recipe, sparsity, pattern=bench.spec.pattern, seed=bench.seed)
    bare = replace(recipe, solver=NONE)
    bare_key = digest_json([bare.to_json(), sparsity, bench.draw])
    masks = memory.masks(bare_key)
    if masks is None:
        statistics = bench.calibrated(plan.needs)
        outcome = prune(
            bench.loaded.model,
            score_function(bench, recipe.metric, bench.layers),
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
        windows=bench.calibration_windows,
        layers=bench.layers,
        statistics=None if plan.runs_blocks else bench.calibrated(plan.needs),
        report=bench.report,
    )
    memory.keep(key, repaired, bench.layers)
    return repaired


def _measurement(
    bench: SearchBench,
    recipe: Recipe,
    part: str,
    windows: int,
    sparsity: float,
    *,
    kl: bool = False,
    known: int = 0,
    memory: MaskMemory | None = None,
) -> "Measurement":
    from autoprune.search.steps import Measurement

    started = time.monotonic()
    with pruned(bench, recipe, sparsity, memory=memory) as outcome:
        result = _evaluate(bench, part, windows, known)
        distance = bench.distance_to_dense(part, windows, known) if kl else ()
    return Measurement(
        nll=tuple(result.nll),
        tokens=result.tokens,
        perplexity=result.perplexity,
        layer_sparsity=dict(outcome.layer_sparsity),
        mask_digest=outcome.mask_digest,
        sparsity=outcome.sparsity,
        seconds=time.monotonic() - started,
        kl=distance,
    )


def _dense_measurement(bench: SearchBench, windows: int) -> "Measurement":
    from autoprune.search.steps import Measurement

    result = _evaluate(bench, SELECTION, windows)
    return Measurement(result.nll, result.tokens, result.perplexity, seconds=result.seconds)


def _evaluate(bench: SearchBench, part: str, windows: int, known: int = 0) -> "Evaluation":
    from autoprune.evaluation.perplexity import evaluate_windows

    tokens = bench.part(part)[known:windows]
    return evaluate_windows(bench.loaded.model, tokens, report=bench.report)
