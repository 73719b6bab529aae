"""Tasks that mirror a run into MLflow; a store that is down never stops a search."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.policies import step
from tasks.provenance import run_tags
from tasks.run_files import RunFiles, read_object
from tasks.state import State

if TYPE_CHECKING:
    from tasks.track import Tracker

log = logging.getLogger(__name__)

_trackers: dict[str, "Tracker"] = {}


def tracker_of(state: State) -> "Tracker":
    """The tracker of a state folder; one per process, since it remembers what is written."""
    from tasks.track import Tracker

    return _trackers.setdefault(str(state.root), Tracker(state))


@step("mirror", "mirror {run_id}")
def mirror(root: str, run_id: str, status: str, settled: int) -> dict[str, Any]:
    """Write a run's record into MLflow: parent with curves, one child per candidate.

    Args:
        root: The state folder.
        run_id: Name of the run.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        settled: Number of the last candidate whose generation is finished; curves end there.

    Returns:
        The parent's MLflow id, or why there is none; what is missing is caught up by the next call.
    """
    state = State.open(Path(root))
    try:
        return {"ok": True, "parent": _mirror(state, run_id, status, settled), "error": ""}
    except Exception as error:
        # The search's own log is the truth: whatever the store's trouble is, work goes on.
        log.info("mirroring failed", exc_info=True)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return {"ok": False, "parent": None, "error": reason}


def _mirror(state: State, run_id: str, status: str, settled: int) -> str:
    files = RunFiles.of(state, run_id)
    report = read_object(files.report)
    tracker = tracker_of(state)
    parent = tracker.parent(report["model"], run_id, report["spec"], run_tags(report))
    tracker.mirror(parent, report["entries"])
    tracker.curve(parent, curves(report["entries"], settled))
    if status != "RUNNING":
        tracker.totals(parent, totals(report), {"autoprune.ended": report["ended"]})
        if files.page.exists():
            tracker.file(parent, files.page)
        if files.plots.is_dir():
            tracker.files(parent, files.plots, "plots")
        tracker.end(parent, status)
    return parent


def curves(entries: list[Mapping[str, Any]], settled: int) -> dict[str, list[tuple[int, float]]]:
    """Curves of the parent run: step is the candidate's number.

    Only candidates up to number ``settled`` count, so that a point never changes later.
    """
    best: list[tuple[int, float]] = []
    rejected: list[tuple[int, float]] = []
    tokens: list[tuple[int, float]] = []
    lowest, turned_away, used = float("inf"), 0, 0
    for entry in sorted(entries, key=lambda entry: entry["order"]):
        value = entry["perplexity"]
        if isinstance(value, int | float) and entry["verdict"] in ("winner", "accepted"):
            lowest = min(lowest, value)
        if entry["order"] == 0:
            continue
        if entry["order"] > settled:
            break
        turned_away += entry["verdict"] == "rejected"
        used += entry["tokens"]
        if lowest < float("inf"):
            best.append((entry["order"], lowest))
        rejected.append((entry["order"], float(turned_away)))
        tokens.append((entry["order"], float(used)))
    return {"best_perplexity": best, "rejected_total": rejected, "designer_tokens": tokens}


def totals(report: Mapping[str, Any]) -> dict[str, float]:
    """Final figures of the parent run."""
    entries = report["entries"]
    designed = [entry for entry in entries if entry["kind"] == "candidate"]
    winner = next((entry for entry in entries if entry["verdict"] == "winner"), None)
    values: dict[str, Any] = {
        "dense_perplexity": report["dense_perplexity"],
        "dense_sealed_perplexity": report["dense_sealed_perplexity"],
        "candidates_total": len(designed),
        "accepted_total": sum(entry["verdict"] in ("accepted", "winner") for entry in designed),
        "stopped_total": sum(entry["verdict"] == "stopped" for entry in designed),
    }
    if winner is not None:
        values["winner_perplexity"] = winner["perplexity"]
        values["winner_sealed_perplexity"] = winner["sealed_perplexity"]
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
