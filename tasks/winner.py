"""Tasks that keep a search's winner: its checkpoint and its place in the registry."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.saving import AUTO, save_bench, saved_type
from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.bench.scheme_recipe import SmallerOutcome
from autoprune.bench.side_by_side import figures_side_by_side
from autoprune.bench.text import SELECTION
from autoprune.budget import Budget
from autoprune.errors import AutopruneError, reason_of
from autoprune.evaluation.continuations import continuations, side_by_side
from autoprune.models.record import DENSE_COMPARISON, RECORD_FILE, source_record
from autoprune.models.saved_type import changes_as, matrix_types, weight_bytes
from autoprune.plain_text import in_fence, in_markdown
from autoprune.recipe import Recipe
from autoprune.report.data import RunReport
from autoprune.report.sentences import summary
from autoprune.search.spec import SearchSpec
from autoprune.storage import read_object
from autoprune.text.seen_text import is_finished
from tasks import track
from tasks.facts import Facts
from tasks.prune import saved_record
from tasks.recorded import recorded, task_run
from tasks.run_files import RunFiles
from tasks.search_bench import SearchBench
from tasks.state import State

if TYPE_CHECKING:
    from tasks.track.models import Registered

log = logging.getLogger(__name__)

# A smaller model and the dense one take turns at reading so many selection windows.
COMPARED_WINDOWS = 8


def keep_winner(
    bench: SearchBench,
    alias: str,
    winner: Recipe,
    masks: str,
    seconds: float,
    unsealed: str = "",
    dtype: str = AUTO,
    found: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """Prune with the winning recipe once more and save the checkpoint, recounting the zeros.

    A checkpoint of the same masks that was saved with the same ``dtype`` stays as it is. A designed
    metric is scored again, in a fresh container: masks remembered from the measurement do not
    count. The winner is kept only if the same masks come out.

    Args:
        bench: The search's bench.
        alias: The winner's name in the search.
        winner: Its recipe.
        masks: Digest of the masks that were measured; the saved ones must be the same.
        seconds: Duration of the search so far, for the record.
        unsealed: Why it has no sealed figure; the promotion gate then refuses it. Empty: it has.
        dtype: Type of the weights in the files; ``auto``: that of the checkpoint they came from.
        found: How it reaches a budget in bytes or speed, with its ``share``; empty for others.

    Raises:
        AutopruneError: If the masks differ from those measured, or the disk is full.
    """
    kept = recorded("keep winner", f"keep {alias} of {bench.run_id}", _kept)
    return kept(bench, alias, winner, masks, seconds, unsealed, dtype, found)


def _kept(
    bench: SearchBench,
    alias: str,
    winner: Recipe,
    masks: str,
    seconds: float,
    unsealed: str,
    dtype: str,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    share: float = found.get("share", bench.spec.sparsity)
    folder = RunFiles.of(bench.state, bench.run_id).winner
    record = source_record(bench.model_ref, bench.loaded.source.digest, bench.seed)
    record |= {
        "run": bench.run_id,
        "candidate": alias,
        "recipe": winner.to_json(),
        "target": share,
        "pattern": bench.spec.pattern,
        "text_split": bench.spec.text_split,
        "mask_digest": masks,
        "search_seconds": seconds,
    }
    if unsealed:
        record["unsealed"] = unsealed
    if dtype != AUTO:
        record["dtype_asked"] = dtype
    before = read_object(folder / RECORD_FILE) if is_finished(folder) else {}
    if before.get("mask_digest") == masks and _has_type(before, dtype):
        checkpoint: dict[str, Any] = before["checkpoint"]
        return checkpoint | {"out": str(folder), "outcome": _outcome(folder, before)}
    if winner.metric.kind not in ("builtin", "scheme") and bench.sandbox is not None:
        bench.masks = MaskMemory()
        record["scored_again_in"] = bench.sandbox.image.tag

    dense, source, whole = _written(bench), bench.loaded.source, bench.loaded.model
    kind = saved_type(bench, dtype)
    asked = SchemeBudget(bench.budget, kind)
    dense_bytes = asked.bytes_of(bench.loaded.model)
    with bench.pruned(winner, bench.budget_of(share)) as outcome:
        if outcome.mask_digest != masks:
            raise AutopruneError(
                f"{alias} gave masks {outcome.mask_digest[:16]}… now and {masks[:16]}… when it was "
                "measured; its metric is not deterministic on this machine; nothing was saved"
            )
        record["outcome"] = {
            "source_bytes": weight_bytes(source.folder, source.gguf_file),
            "samples": side_by_side(dense, _written(bench)),
            "measured_in": bench.dtype if changes_as(bench.loaded.model, kind) else "",
        }
        pruned: int | None = outcome.zeros
        if isinstance(outcome, SmallerOutcome):
            pruned = None
            record |= outcome.shrunk.to_json() | {"scheme": outcome.scheme}
            if found:
                reached = asked.reached(bench.loaded.model, dense_bytes)
                record["budget"] = {"asked": str(bench.budget), **found, **reached}
                record["outcome"] |= _timed(found)
            record["notes"] = list(outcome.notes)
            try:
                record |= _compared(bench, whole, kind)
            except Exception as error:
                # Such as too few positions for the timed prompt, or no memory for both: the winner
                # is kept whatever it is.
                record["notes"].append(f"not measured next to the dense model: {reason_of(error)}")
        saved = save_bench(bench, folder, record, pruned, kind)
    return saved_record(saved) | {"outcome": _outcome(folder, record)}


def is_kept(files: RunFiles, facts: Facts, dtype: str) -> bool:
    """Whether a search has saved its winner with this ``dtype``; its folder may be gone since."""
    place = files.winner / RECORD_FILE
    known = not place.is_file() or _has_type(read_object(place), dtype)
    return known and "checkpoint" in facts


def _has_type(record: Mapping[str, Any], dtype: str) -> bool:
    """Whether a winner's record says that it was saved with this ``dtype``; without one, auto."""
    return bool(record.get("dtype_asked", AUTO) == dtype)


def _asked(report: RunReport, record: Mapping[str, Any]) -> Budget:
    """What the search pruned to; a winner's own share is only part of that."""
    if "budget" not in record:
        return Budget(record["target"])
    return SearchSpec.recorded(report.spec).target


def _counts(record: Mapping[str, Any]) -> dict[str, str]:
    """What was removed, as tags of the winner's version."""
    if "scheme" in record:
        found = {key: record[key] for key in ("scheme", "parameters")}
    else:
        found = {key: record["checkpoint"][key] for key in ("zeros", "prunable")}
    return {f"autoprune.{key}": str(value) for key, value in found.items()}


def _figures(report: RunReport) -> dict[str, str]:
    """Figures of the winner as tags of its version."""
    winner = report.winner
    if winner is None:
        return {}
    found = {
        "perplexity.selection": winner.perplexity,
        "perplexity.sealed": winner.sealed_perplexity,
        "perplexity.dense": report.dense_perplexity,
        "perplexity.dense.sealed": report.dense_sealed_perplexity,
        "change_vs_wanda": winner.change_vs_wanda,
    }
    tags = {f"autoprune.{key}": f"{value:.6g}" for key, value in found.items() if value is not None}
    return tags | {"autoprune.corpus": report.corpus, "autoprune.written_by": winner.author}


def _description(report: RunReport, record: Mapping[str, Any]) -> str:
    """The report's own sentences, and the recipe."""
    words = " ".join(map(in_markdown, summary(report)))
    return f"{words}\n\nRecipe of {in_markdown(record['candidate'])}:\n\n" + in_fence(
        json.dumps(record["recipe"], indent=2)
    )


def _outcome(folder: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the folder holds besides its source; None if an earlier version kept it."""
    if "outcome" not in record:
        return None

    both = {"beside": record[DENSE_COMPARISON]} if DENSE_COMPARISON in record else {}
    files = {"saved_bytes": weight_bytes(folder), "dtype": "+".join(sorted(matrix_types(folder)))}
    found: dict[str, Any] = record["outcome"] | files | both
    return found


def _compared(
    bench: SearchBench, dense: PreTrainedModel, kind: torch.dtype | None
) -> dict[str, Any]:
    """Cost and quality of the dense model and of the smaller one that the bench holds."""
    both = {"dense": dense, "smaller": bench.loaded.model}
    windows = bench.part(SELECTION)[:COMPARED_WINDOWS]
    figures = figures_side_by_side(bench, both, windows, kind)
    return {DENSE_COMPARISON: figures | {"windows": len(windows)}}


def _timed(found: Mapping[str, Any]) -> dict[str, float]:
    """Speed that a budget was reached at, for the report; empty for a budget in bytes."""
    if "faster" not in found:
        return {}
    return {"faster": found["faster"], "dense_rate": found["tokens_per_second_dense"]}


def _written(bench: SearchBench) -> list[tuple[str, str]]:
    """How the model, as it is, continues the beginnings of two selection windows."""
    return continuations(bench.loaded, bench.part(SELECTION))


@task_run("register", "register {report.run_id}")
def register_winner(
    state: State, report: RunReport, parent: str | None
) -> "tuple[Registered | None, str]":
    """Log the winner's checkpoint to MLflow, register it, and set the alias.

    Args:
        state: The state folder.
        report: The search, as it stands.
        parent: MLflow id of its parent run; None when the store is down.

    Returns:
        The version in the registry, or None and why there is none.
    """
    if parent is None:
        return None, "the run is not in MLflow yet"

    run_id, files = report.run_id, RunFiles.of(state, report.run_id)
    try:
        if not (files.winner / RECORD_FILE).is_file():
            raise AutopruneError(f"the folder {files.winner.name} of {run_id} is gone")
        record = read_object(files.winner / RECORD_FILE)
        budget = _asked(report, record)
        found = track.register_checkpoint(
            track.Tracker(state),
            parent,
            files.winner,
            model=record["model"],
            sparsity=record["target"],
            masks=record["mask_digest"],
            tags={
                "autoprune.run": run_id,
                "autoprune.candidate": record["candidate"],
            }
            | _counts(record)
            | _figures(report)
            | ({"autoprune.unsealed": record["unsealed"]} if "unsealed" in record else {}),
            may_lead="unsealed" not in record,
            description=_description(report, record),
            name=track.models.budget_name(record["model"], budget, smaller="scheme" in record),
            goal="" if budget.unit == "sparsity" else budget.goal,
        )
    except Exception as error:
        # The checkpoint is in the run's folder; the next run updates the registry.
        log.info("registering failed", exc_info=True)
        return None, reason_of(error)
    return found, ""
