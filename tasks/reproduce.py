"""Reproduces a candidate from its MLflow run alone: the same masks, bit for bit, or an error."""

from pathlib import Path
from typing import Any

from autoprune.bench.saving import AUTO, save_bench, saved_type
from autoprune.bench.scheme_recipe import SmallerOutcome
from autoprune.errors import AutopruneError, UnknownNameError, UsageError
from autoprune.models.record import text_record
from autoprune.models.target import check_target
from autoprune.progress import silent
from autoprune.pruning import PruneOutcome
from autoprune.recipe import Recipe
from autoprune.report.folder_card import write_folder_card
from autoprune.search.spec import SearchSpec
from tasks import track
from tasks.recorded import task_run
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.workbench import opened


class MasksDifferError(AutopruneError):
    """The masks differ from those recorded.

    Args:
        mlflow_run: Id of the candidate's run.
        found: Digest of the masks here.
        wanted: Digest of the masks in the record.
    """

    def __init__(self, mlflow_run: str, found: str, wanted: str) -> None:
        super().__init__(
            f"the masks of {mlflow_run} have digest {found[:16]}… here and {wanted[:16]}… in the "
            "record; use the versions and the processor that the run's tags name"
        )
        self.found = found
        self.wanted = wanted


def find_candidate(state: State, run: str, candidate: str) -> str:
    """MLflow id of a candidate of a search, from MLflow's record alone."""
    tracker = track.Tracker(state)
    known = tracker.searches()
    if run not in known:
        raise UnknownNameError(f"search in MLflow ({state.tracking_place})", run, known)
    measured = {}
    for found in tracker.measured(known[run]):
        for name in (found.data.tags[track.runs.RUN_NAME], found.data.tags[track.runs.ENTRY_TAG]):
            measured[name] = str(found.info.run_id)
    unmeasured = {
        name
        for found in tracker.child_runs(known[run]).values()
        for name in (
            found.data.tags.get(track.runs.RUN_NAME),
            found.data.tags[track.runs.ENTRY_TAG],
        )
    }
    if candidate in unmeasured - measured.keys():
        raise UsageError(
            f"{candidate} of {run} was never measured, so there are no masks to make again; "
            f"measured are: {', '.join(sorted(measured)) or 'none'}"
        )
    if candidate not in measured:
        raise UnknownNameError(f"measured candidate of {run}", candidate, measured)
    return measured[candidate]


@task_run("reproduce", "reproduce {mlflow_run}")
def reproduce(
    state: State,
    mlflow_run: str,
    out: str | None = None,
    overwrite: bool = False,
    dtype: str = AUTO,
) -> dict[str, Any]:
    """Prune as recorded in a candidate's run, and compare the digest of the masks."""
    recorded = track.mask_records.read_mask_record(track.Tracker(state), mlflow_run)
    spec = SearchSpec.recorded(recorded["spec"])
    recipe = Recipe.from_json(recorded["recipe"])
    if out is not None:
        check_target(out, spec.model, [spec.corpus], overwrite=overwrite)
    bench = SearchBench(
        spec.model,
        state,
        spec.seed,
        silent,
        spec=spec,
        run_id=f"reproduce-{mlflow_run[:8]}",
        # Formulas give the same scores in the container and in the language's own evaluator.
        designs_in="docker" if recipe.metric.is_code else "off",
    )
    with opened(bench):
        _require(bench.loaded.source.digest, recorded["model_digest"], f"the model {spec.model}")
        text = bench.splits.calibration.digest
        _require(text, recorded["calibration_digest"], f"the calibration part of {spec.corpus}")
        # What was timed once is not timed again.
        share = recorded.get("budget", {}).get("share", spec.sparsity)
        with bench.pruned(recipe, bench.budget_of(share)) as outcome:
            if outcome.mask_digest != recorded["mask_digest"]:
                raise MasksDifferError(mlflow_run, outcome.mask_digest, recorded["mask_digest"])
            if out is not None:
                made = {
                    **bench.origin(share),
                    **text_record(spec.corpus, text, spec.calibration_windows, spec.seqlen),
                    "notes": [*outcome.notes],
                    **recorded,
                    "mlflow_run": mlflow_run,
                }
                _save(bench, recipe, outcome, Path(out), made, dtype)
    return {
        "mlflow_run": mlflow_run,
        "candidate": recorded["candidate"],
        "mask_digest": recorded["mask_digest"],
        "out": out,
        **({"asked": str(spec.target), **recorded["budget"]} if "budget" in recorded else {}),
    }


def _save(
    bench: SearchBench,
    recipe: Recipe,
    outcome: PruneOutcome,
    out: Path,
    record: dict[str, Any],
    dtype: str,
) -> None:
    """Save the pruned model of a bench with its card, under the names that other commands read."""
    kind = saved_type(bench, dtype)
    if isinstance(outcome, SmallerOutcome):
        saved = save_bench(bench, out, record | outcome.record, dtype=kind)
    else:
        made = {**recipe.to_json(), "metric": recipe.metric.text, **record}
        made |= outcome.by_code(recipe.metric, f"{record['candidate']}.py")
        saved = save_bench(bench, out, made, outcome.zeros, kind)
    write_folder_card(saved, bench.loaded.source)


def _require(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise AutopruneError(
            f"{what} has digest {found[:16]}… here and {wanted[:16]}… in the record; "
            "only the same gives the same masks; use the one that was recorded"
        )
