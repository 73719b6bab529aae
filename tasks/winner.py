"""Tasks that keep a search's winner: its checkpoint and its place in the registry."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.keeping import outcome_of, save_measured
from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.saving import AUTO
from autoprune.budget import Budget
from autoprune.errors import AutopruneError, reason_of
from autoprune.models.record import read_record
from autoprune.plain_text import in_fence, in_markdown
from autoprune.recipe import Recipe
from autoprune.report.data import RunReport
from autoprune.report.sentences import summary
from autoprune.search.spec import SearchSpec
from autoprune.text.seen_text import is_finished
from tasks import track
from tasks.facts import Facts
from tasks.recorded import task_run
from tasks.run_files import RunFiles
from tasks.search_bench import SearchBench
from tasks.state import State

if TYPE_CHECKING:
    from tasks.track.models import Registered

log = logging.getLogger(__name__)


@task_run("keep winner", "keep {alias} of {bench.run_id}")
def keep_winner(
    bench: SearchBench,
    alias: str,
    winner: Recipe,
    masks: str,
    seconds: float,
    unsealed: str = "",
    dtype: str = AUTO,
    found: Mapping[str, Any] = {},
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Prune with the winning recipe once more and save the checkpoint, recounting the zeros.

    A checkpoint of the same masks that was saved with the same ``dtype`` stays as it is. A designed
    metric is scored again, in a fresh container: masks remembered from the measurement do not
    count. The winner is kept only if the same masks come out.
    """
    share: float = found.get("share", bench.spec.sparsity)
    folder = RunFiles.of(bench.state, bench.run_id).winner
    record = bench.origin(share) | {
        "run": bench.run_id,
        "candidate": alias,
        "recipe": winner.to_json(),
        "mask_digest": masks,
        "search_seconds": seconds,
    }
    if unsealed:
        record["unsealed"] = unsealed
    if dtype != AUTO:
        record["dtype_asked"] = dtype
    before = read_record(folder) if is_finished(folder) else {}
    if before.get("mask_digest") == masks and _has_type(before, dtype):
        return _kept(folder, before)
    if winner.metric.kind not in ("builtin", "scheme") and bench.sandbox is not None:
        bench.masks = MaskMemory()
        record["scored_again_in"] = bench.sandbox.image.tag
    if found:
        found = {"asked": str(bench.budget), **found}
    budget = bench.budget_of(share)
    saved = save_measured(bench, alias, winner, budget, masks, folder, record, dtype, found)
    return _kept(folder, saved.record)


def _kept(folder: Path, record: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    place = {"out": str(folder), "outcome": outcome_of(folder, record)}
    return record, {**record["checkpoint"], **place}


def is_kept(files: RunFiles, facts: Facts, dtype: str) -> bool:
    """Whether a search has saved its winner with this ``dtype``; its folder may be gone since."""
    record = read_record(files.winner)
    return (not record or _has_type(record, dtype)) and "checkpoint" in facts


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


@task_run("register", "register {report.run_id}")
def register_winner(
    state: State, report: RunReport, parent: str | None
) -> "tuple[Registered | None, str]":
    """Log the winner's checkpoint to MLflow, register it, and set the alias."""
    if parent is None:
        return None, "the run is not in MLflow yet"

    run_id, files = report.run_id, RunFiles.of(state, report.run_id)
    try:
        # The winner may have been kept by an earlier process.
        if not (record := read_record(files.winner)):
            raise AutopruneError(f"the folder {files.winner.name} of {run_id} is gone")
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
