"""Tasks that mirror a run into MLflow; a store that is down never stops a search."""

import logging
import math
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar

from autoprune.errors import PrerequisiteError, reason_of
from autoprune.plain_text import in_markdown
from autoprune.report.designer_calls import call_totals
from autoprune.report.sentences import summary
from tasks import track
from tasks.addresses import request_to
from tasks.open_runs import left_open
from tasks.provenance import run_tags
from tasks.recorded import recorded
from tasks.run_files import RunFiles
from tasks.state import State, without_login
from tasks.switches import prices, tracing_wanted

if TYPE_CHECKING:
    from autoprune.report.data import ReportEntry, RunReport
    from tasks.run_record import RunRecord
    from tasks.track.runs import Tracker
    from tasks.track.traces import Traces

log = logging.getLogger(__name__)
Done = TypeVar("Done")

_silent_until: dict[str, float] = {}

# MLflow's client retries for minutes; a search asks first and leaves a dead server alone.
ANSWER_SECONDS = 2.0
PAUSE_SECONDS = 30.0
FINAL_STATUSES = ("FINISHED", "FAILED", "KILLED")


class SearchMirror:
    """A search in MLflow, and what this process already wrote there.

    Args:
        state: The state folder.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    @cached_property
    def tracker(self) -> "Tracker":
        """The store."""
        return track.Tracker(self.state)

    @cached_property
    def traces(self) -> "Traces":
        """The traces of the store."""
        return track.traces.Traces(self.tracker)

    def mirror(self, record: "RunRecord", status: str, settled: int) -> dict[str, Any]:
        """Write a run's record into MLflow: a parent with curves, and one child per candidate.

        This is a task run only for the last time: a search mirrors while it works, too.
        """
        last, work = status in FINAL_STATUSES, self.mirrored
        if last:
            work = recorded("mirror", f"mirror {record.run_id}", work)
        return work(record, status, settled)

    def mirrored(self, record: "RunRecord", status: str, settled: int) -> dict[str, Any]:
        """:meth:`mirror` without its own task run."""

        def work() -> tuple[str, str]:
            parent = self._write(record, status, settled)
            return parent, place_of(self.tracker, parent, record.run_id)

        done, error = tried(self.state, work, patient=status in FINAL_STATUSES)
        parent, place = done or (None, "")
        return {"ok": done is not None, "parent": parent, "place": place, "error": error}

    def _write(self, record: "RunRecord", status: str, settled: int) -> str:
        run_id, report, calls = record.run_id, record.report, record.calls
        tracker = self.tracker
        parent = tracker.parent(report.model, run_id, report.spec, run_tags(report), record.log_id)
        tracker.mirror(parent, report.entries, record.mask_records)
        tracker.curve(parent, curves(report.entries, settled))
        if calls and tracing_wanted():
            # A call's candidate is known once its generation continues; calls without one wait.
            ready = [call for call in calls if call["candidate"] or status in FINAL_STATUSES]
            self.traces.write(parent, run_id, ready, tracker.children(parent))
        if status != "RUNNING":
            budget = report.spec.get("budget", {})
            priced = (budget.get("price") or prices(), budget.get("prices"))
            figures = totals(report) | (call_totals(calls, *priced) if calls else {})
            tracker.totals(parent, figures, {"autoprune.ended": report.ended})
            sentences = map(in_markdown, summary(report))
            tracker.describe(parent, " ".join(sentences))
            files = RunFiles.of(self.state, run_id)
            if files.page.exists():
                tracker.file(parent, files.page)
            if files.plots.is_dir():
                tracker.files(parent, files.plots, "plots")
            tracker.end(parent, status)
        return parent


def log_stage(
    state: State,
    content: Callable[[], dict[str, Any]],
    called: str,
    *,
    patient: bool = True,
    tracker: "Tracker | None" = None,
) -> dict[str, Any]:
    """Write a stage other than a search into MLflow; see :func:`tasks.track.stages.log_stage`."""

    def work() -> tuple[str, str]:
        store = tracker or track.Tracker(state)
        run = track.stages.log_stage(store, **content())
        return run, place_of(store, run, called)

    found, error = tried(state, work, patient=patient)
    run, place = found or (None, "")
    return {"mlflow_run": run, "place": place, "error": error}


def end_killed(state: State) -> list[str]:
    """End the runs in MLflow that this folder's killed processes left RUNNING."""
    left = left_open(state)

    def work() -> list[str]:
        return track.killed.end_killed(track.Tracker(state), left)

    return (tried(state, work, patient=False)[0] or []) if left else []


def in_store(state: State, facts: Mapping[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """What the store that is used now holds of a search; it may be another than before, or new."""
    parent: Any = facts.get("mirrored")
    version: Any = facts.get("registered")
    # Earlier versions kept True, which names no store.
    if not isinstance(parent, str):
        return False, None

    def run() -> bool:
        info = track.Tracker(state).client.get_run(parent).info
        # Killed while its outcome was shown once more, it would stay so.
        return bool(info.lifecycle_stage == "active" and info.status == "FINISHED")

    def registered() -> bool:
        place = version["name"], str(version["version"])
        return bool(track.Tracker(state).client.get_model_version(*place).run_id == parent)

    mirrored = bool(tried(state, run, patient=True)[0])
    kept = mirrored and version is not None and tried(state, registered, patient=True)[0]
    return mirrored, version if kept else None


def update_within(seconds: float, update: Callable[..., object], *arguments: object) -> None:
    """Give a last update of MLflow some time, in a thread that the process does not wait for."""
    last = threading.Thread(target=update, args=arguments, daemon=True)
    last.start()
    last.join(seconds)


def tried(state: State, work: Callable[[], Done], *, patient: bool) -> tuple[Done | None, str]:
    """The result of writing into MLflow, or None and why there is none.

    The run's own files and log are the record: whatever is wrong with the store, work continues.
    """
    try:
        require_answer(state.tracking_uri, patient=patient)
        return work(), ""
    except Exception as error:
        log.info("mirroring failed", exc_info=True)
        return None, reason_of(error)


def require_answer(address: str, *, patient: bool) -> None:
    """Ask a server whether it is there; files need no asking."""
    if not address.startswith(("http://", "https://")):
        return
    gone = PrerequisiteError(f"no MLflow server answers at {without_login(address)}")
    if time.monotonic() < _silent_until.get(address, 0.0) and not patient:
        raise gone
    try:
        asked = request_to(f"{address.rstrip('/')}/health")
        with urllib.request.urlopen(asked, timeout=ANSWER_SECONDS):
            _silent_until.pop(address, None)
    except urllib.error.HTTPError:
        # It answers, if only to ask for a password, which the client has.
        return
    except (OSError, HTTPException) as error:
        _silent_until[address] = time.monotonic() + PAUSE_SECONDS
        raise gone from error


def place_of(tracker: "Tracker", parent: str, run_id: str) -> str:
    """Where to find a run in MLflow: a link if there is a server, else a command."""
    state, experiment = tracker.state, tracker.experiment_of(parent)
    page = f"#/experiments/{experiment}/runs/{parent}"
    address = state.mlflow_page
    if address:
        return f"[{run_id} in MLflow]({address}/{page})"
    return (
        f"MLflow run `{parent}` of {run_id}; to look at it, type "
        f"`mlflow ui --backend-store-uri {state.tracking_place}`, then open "
        f"`http://127.0.0.1:5000/{page}`"
    )


def curves(entries: "Iterable[ReportEntry]", settled: int) -> dict[str, list[tuple[int, float]]]:
    """Curves of the parent run: step is the candidate's number.

    Only candidates up to number ``settled`` count, so that points hardly ever change later. The
    exception is a candidate that the sweep measures generations later: it counts from its own
    number in a new curve, and from the next number in one that was drawn before.
    """
    best: list[tuple[int, float]] = []
    rejected: list[tuple[int, float]] = []
    tokens: list[tuple[int, float]] = []
    lowest, turned_away, used = float("inf"), 0, 0
    for entry in sorted(entries, key=lambda entry: entry.order):
        if entry.perplexity is not None and entry.measured:
            lowest = min(lowest, entry.perplexity)
        if entry.order == 0:
            continue
        if entry.order > settled:
            break
        turned_away += entry.verdict == "rejected"
        used += entry.tokens
        if lowest < float("inf"):
            best.append((entry.order, lowest))
        rejected.append((entry.order, float(turned_away)))
        tokens.append((entry.order, float(used)))
    return {"best_perplexity": best, "rejected_total": rejected, "designer_tokens": tokens}


def totals(report: "RunReport") -> dict[str, float]:
    """Final figures of the parent run."""
    designed = report.candidates
    winner = next((entry for entry in report.entries if entry.verdict == "winner"), None)
    values: dict[str, float | None] = {
        "dense_perplexity": report.dense_perplexity,
        "dense_sealed_perplexity": report.dense_sealed_perplexity,
        "candidates_total": len(designed),
        "accepted_total": sum(entry.verdict in ("accepted", "winner") for entry in designed),
        "stopped_total": sum(entry.verdict == "stopped" for entry in designed),
    }
    if winner is not None:
        values["winner_perplexity"] = winner.perplexity
        values["winner_sealed_perplexity"] = winner.sealed_perplexity
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }
