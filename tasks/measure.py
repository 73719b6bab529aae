"""What a search does on its bench: prepare, measure recipes, look at the sealed text once."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.outcomes import Measurement
from autoprune.bench.scoring import CandidateRejectedError
from autoprune.bench.text import CALIBRATION, SEALED, SELECTION, Part
from autoprune.bench.time_limit import OutOfTimeError, limited
from autoprune.budget import Budget
from autoprune.errors import LONGEST_DETAIL, DamagedStatisticsError, UsageError, reason_of
from autoprune.models.gguf_reading import quantisation
from autoprune.recipe import Recipe
from autoprune.search.deadline import UNFINISHED
from autoprune.search.steps import Failed, Measure, Seal, Sealed, outcome_to_json
from autoprune.text.beginning import beginning_rule
from autoprune.text.overlap import shared_text
from autoprune.text.windows import WINDOWS_VERSION, fewer_than_asked
from tasks.recorded import recorded
from tasks.sealed_looks import record_look, standing
from tasks.search_bench import SearchBench
from tasks.state import folder_tag

if TYPE_CHECKING:
    from autoprune.evaluation.perplexity import Evaluation


def prepare(bench: SearchBench) -> dict[str, Any]:
    """Load the model and split the text; :func:`tasks.calibrate.calibrate` comes next.

    Returns:
        What the record says about the model and the text.
    """
    return recorded("prepare", f"prepare {bench.run_id}", lambda: _prepared(bench))


def _prepared(bench: SearchBench) -> dict[str, Any]:
    started = time.monotonic()
    layers = bench.layers
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
            f"the sealed part of {bench.text.corpus}",
            parts[SEALED]["windows"],
            bench.text.counts[SEALED],
            bench.text.seqlen,
        ),
        "sealed_set": standing(bench.state, bench.splits, _look_of(bench)).to_json(),
        "quantised": quantisation(bench.loaded.source),
        "overlap": shared_text(bench.splits),
        "seconds": time.monotonic() - started,
    }


def note_look(bench: SearchBench, again: str = "") -> dict[str, Any]:
    """Note the search's one look at the sealed text, before anything is measured there.

    Args:
        bench: The search's bench.
        again: When a further look was requested, which counts separately; empty: the first look.

    Returns:
        ``sealed_looks``: looks of all runs so far, this one included; ``sealed_set``: what was
        known about the set before it.
    """

    def noted() -> dict[str, Any]:
        splits, look = bench.splits, _look_of(bench) + (f", again {again}" if again else "")
        known = standing(bench.state, splits, look).to_json()
        text, whole = splits.sealed.digest, splits.whole
        looks = record_look(bench.state, text, look, whole, kind="search", splits=splits)
        return {"sealed_looks": looks, "sealed_set": known}

    return recorded("look at the seal", f"{bench.run_id} opens the sealed text", noted)


def _look_of(bench: SearchBench) -> str:
    """Name of a search in the ledger.

    Two state folders may have searches of the same name, and so may one, after `autoprune rm`.
    """
    name = f"search {bench.run_id}, {folder_tag(bench.state)}"
    return f"{name}, {bench.log_id}" if bench.log_id else name


def measure_dense(bench: SearchBench, part: Part) -> "Evaluation":
    """Measure the model before pruning on one part of the text."""

    def measured() -> "Evaluation":
        bench.dense.restore()
        return bench.evaluate(part)

    return recorded("dense", f"dense perplexity on {part}", measured)


def measured(
    bench: SearchBench, wanted: Measure, seconds: float = math.inf
) -> Measurement | Failed:
    """Prune by a recipe, measure on selection windows, restore the dense weights.

    Sentinels, and recipes to be sealed next, compute masks and repair again, whatever is remembered
    of the recipe. This reveals drift in scores, budgets and repairs; statistics that differ from
    those in the store are then a failure.

    Args:
        bench: The search's bench.
        wanted: The step. A recipe of None stands for the dense model. It is not restored first, so
            that a model which a recipe left pruned is detected.
        seconds: Time limit; past it, the step is stopped and fails as unfinished.
    """
    # No pattern has the dense model's share.
    budget = Budget(0.0) if wanted.recipe is None else bench.budget_of(wanted.sparsity)
    fresh = wanted.role in ("sentinel", "repeat")
    memory = MaskMemory() if fresh else bench.masks

    def work() -> Measurement:
        if fresh and wanted.recipe is not None:
            bench.statistics_of(wanted.draw).verify()
        found = bench.measure(
            wanted.recipe,
            budget,
            slice(0 if wanted.recipe is None else wanted.known, wanted.windows),
            draw=wanted.draw,
            kl=wanted.kl,
            memory=memory,
            calibration=wanted.calibration,
        )
        if wanted.role == "repeat":
            bench.masks.adopt(memory)
        return found

    return _tried(work, bench, seconds)


def sealed(bench: SearchBench, wanted: Seal, seconds: float = math.inf) -> Sealed:
    """Measure the winner and the baselines on the sealed text, after :func:`note_look`.

    A recipe that cannot be measured is left out with the reason: an error would end the search, and
    each time it resumed the others would read the sealed text once more.

    Args:
        bench: The search's bench.
        wanted: The step.
        seconds: Time limit; past it, all recipes but the first and the reference are left out.
    """
    started = time.monotonic()
    found: dict[str, Measurement] = {}
    failures: dict[str, Failed] = {}
    for recipe_id, recipe in wanted.recipes:
        budget = bench.budget_of(wanted.share_of(recipe_id))

        def work(recipe: Recipe = recipe, budget: Budget = budget) -> Measurement:
            return bench.measure(recipe, budget, slice(wanted.windows), SEALED)

        owed = recipe_id in (wanted.recipes[0][0], bench.spec.reference)
        left = math.inf if owed else seconds - (time.monotonic() - started)
        outcome = no_time() if left <= 0.0 else _tried(work, bench, left)
        if isinstance(outcome, Failed):
            failures[recipe_id] = outcome
        else:
            found[recipe_id] = outcome
    return Sealed(found, time.monotonic() - started, failures)


def no_time() -> Failed:
    """Outcome of a step that does not start because it could not finish in time."""
    return Failed(UNFINISHED, "not started: it could not have ended in time")


def _tried(
    work: Callable[[], Measurement], bench: SearchBench, seconds: float
) -> Measurement | Failed:
    """Result of a measurement; for a recipe that is rejected or makes no sense, a verdict."""
    started = time.monotonic()
    try:
        with limited(bench, seconds):
            return work()
    except OutOfTimeError as error:
        return Failed(UNFINISHED, str(error), time.monotonic() - started)
    except CandidateRejectedError as error:
        return Failed(error.code, error.detail[:LONGEST_DETAIL], time.monotonic() - started)
    except (UsageError, DamagedStatisticsError) as error:
        code = "invalid" if isinstance(error, UsageError) else "statistics"
        return Failed(code, reason_of(error, LONGEST_DETAIL), time.monotonic() - started)


def measure(
    bench: SearchBench,
    step_id: str,
    recipe: dict[str, Any] | None,
    windows: int,
    sparsity: float,
    draw: int = 0,
    kl: bool = False,
    known: int = 0,
    role: Any = "candidate",
    seconds: float | None = None,
    calibration: int | None = None,
) -> dict[str, Any]:
    """:func:`measured` for another process: plain JSON in and out.

    Args:
        bench: An open search bench.
        step_id: Which step asks.
        recipe: JSON form of the recipe; None: the dense model.
        windows: Number of selection windows to use, from the first.
        sparsity: Share of zeros.
        draw: Which draw of calibration text the statistics come from.
        kl: Also measure the distance to the dense model.
        known: Number of these windows to leave out, from the first.
        role: See :class:`autoprune.search.steps.Measure`.
        seconds: As for :func:`measured`; None: no limit.
        calibration: Prune with this many of the first calibration windows; None: with all.
    """
    read = None if recipe is None else Recipe.from_json(recipe)
    made = Measure(
        step_id, 0, 0, "", read, 1, windows, sparsity, role, draw, kl, known, calibration
    )
    limit = math.inf if seconds is None else seconds
    return outcome_to_json(measured(bench, made, limit))
