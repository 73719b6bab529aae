"""What Prefect's UI shows of a run: progress, tables, a report, a link to MLflow.

Artifacts have one key per model and budget, so the history of a key is one line per night. In a
flow run each exists once and is updated in place, however often the run is retried. Outside a flow
run nothing is written, and an API that does not answer costs the run one short attempt.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.plain_text import in_code, in_markdown, one_line, shell_line
from tasks.state import model_slug, without_login

if TYPE_CHECKING:
    from uuid import UUID

    # It imports torch, and lists of runs import this file.
    from autoprune.budget import Budget
    from autoprune.report.leaderboard import LeaderboardRow

log = logging.getLogger(__name__)

PROGRESS = "progress"
LEADERBOARD = "leaderboard"
REPORT = "report"
MLFLOW = "mlflow"
FIGURES = "figures"
CALIBRATION = "calibration"
STAGES = "stages"
TYPES = {
    PROGRESS: "progress",
    LEADERBOARD: "table",
    FIGURES: "table",
    REPORT: "markdown",
    MLFLOW: "markdown",
    CALIBRATION: "markdown",
    STAGES: "markdown",
}
# The deployment that does one stage of a search.
STAGE = "resume/manual"
# A key is part of an address; Prefect allows lower-case letters, digits and dashes.
LONGEST_SLUG = 40
# After a failure the search is not held up again for a while.
PAUSE_SECONDS = 30.0
CELL = 120


class Publisher:
    """Artifacts of one run.

    Args:
        model: Reference of the model.
        budget: Target share of zeros, or a budget; None if a run has none.
        kind: Kind of run, the first word of its keys.
    """

    def __init__(self, model: str, budget: "Budget | float | None", kind: str = "search") -> None:
        slug = model_slug(model)[:LONGEST_SLUG].rstrip("-")
        self._subject = slug
        if budget is not None:
            tag = f"s{round(100 * budget)}" if isinstance(budget, float) else budget.tag
            self._subject += f"-{tag}"
        self._kind = kind
        self._known: dict[str, UUID] = {}
        self._written: dict[str, str] = {}
        self._highest = 0.0
        self._silent_until = 0.0

    def key(self, what: str) -> str:
        """Key of one artifact, for example ``search-leaderboard-smollm2-135m-instruct-s60``."""
        return f"{self._kind}-{what}-{self._subject}"

    def progress(self, done: float, total: float, note: str) -> bool:
        """Show the progress of the search, which never goes back."""
        share = 100.0 * done / total if total > 0 else 0.0
        self._highest = max(self._highest, min(100.0, round(share, 1)))
        return self._put(PROGRESS, self._highest, note)

    def leaderboard(self, rows: "Sequence[LeaderboardRow]", reference: str, note: str) -> bool:
        """Show the leaderboard as a table of strings, best first."""
        table = [table_row(row, reference) for row in rows]
        return self._put(LEADERBOARD, json.dumps(table), note)

    def figures(self, rows: Sequence[Mapping[str, str]], note: str) -> bool:
        """Show a table of strings."""
        return self._put(FIGURES, json.dumps([dict(row) for row in rows]), note)

    def calibration(self, markdown: str) -> bool:
        """Show which text the statistics come from, and their digest."""
        return self._put(CALIBRATION, markdown, "Statistics of the dense model")

    def report(self, markdown: str) -> bool:
        """Show the readable report."""
        return self._put(REPORT, markdown, f"How the {self._kind.replace('-', ' ')} ended")

    def mlflow(self, markdown: str) -> bool:
        """Show where the run is in MLflow."""
        return self._put(MLFLOW, markdown, "The same run in MLflow, candidate by candidate")

    def stages(self, run_id: str) -> bool:
        """Show from the beginning how a stage is done again, also if the search breaks."""
        words = stages_markdown(run_id, _deployment_page(STAGE))
        return self._put(STAGES, words, "How to go on with one stage, or repeat it")

    def _put(self, what: str, data: Any, note: str) -> bool:
        """Write one artifact of the flow run, or update the existing one."""
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return False
        # What comes once, at the end, is tried even so.
        if time.monotonic() < self._silent_until and what not in (REPORT, MLFLOW):
            return False
        # Shown as markdown; it may name a candidate's formula.
        note = in_markdown(note)
        content = json.dumps([data, note])
        if self._written.get(what) == content:
            return True
        try:
            self._write(what, data, note, context.flow_run.id)
        except Exception as error:
            # Artifacts are only a mirror; whatever is wrong with the API, the search continues.
            log.info("the artifact %s was not written: %s", self.key(what), error, exc_info=True)
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            return False
        self._written[what] = content
        return True

    def _write(self, what: str, data: Any, note: str, flow_run: "UUID") -> None:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.actions import ArtifactCreate

        with get_client(sync_client=True) as client:
            if what not in self._known:
                found = _find(client, self.key(what), flow_run)
                if found is None:
                    made = client.create_artifact(
                        ArtifactCreate(
                            key=self.key(what),
                            type=TYPES[what],
                            data=data,
                            description=note,
                            flow_run_id=flow_run,
                        )
                    )
                    self._known[what] = made.id
                    return
                self._known[what] = found
            # Not `update_artifact`: it puts the whole content into an event row each time.
            client.request(
                "PATCH",
                "/artifacts/{id}",
                path_params={"id": self._known[what]},
                json={"data": data, "description": note},
            )


def stages_markdown(run_id: str, page: str) -> str:
    """Say how one stage of a search is done."""
    name = f"[{STAGE}]({page})" if page else f"`{STAGE}`"
    line = shell_line("resume", run_id, "--until", "measure")
    return (
        f"To go on until one stage is done, start the deployment {name} with {in_code(run_id)} "
        f"under *Run* and choose *Until*, or type {in_code(line)}. "
        f"{in_code(shell_line('resume', run_id))} does all that is left."
    )


def _deployment_page(name: str) -> str:
    """Address of a deployment's page in Prefect; empty outside a flow run, or if it is missing."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext
    from prefect.utilities.urls import url_for

    if FlowRunContext.get() is None:
        return ""
    try:
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(name)
        return without_login(url_for("deployment", obj_id=found.id) or "")
    except Exception as error:
        # The private server of a command has no deployments.
        log.info("no page of the deployment %s: %s", name, error)
        return ""


def _find(client: Any, key: str, flow_run: "UUID") -> "UUID | None":
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.client.schemas.filters import ArtifactFilterKey as Key

    wanted = ArtifactFilter(
        key=Key(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run])
    )
    found = client.read_artifacts(artifact_filter=wanted)
    return found[0].id if found else None


def table_row(row: "LeaderboardRow", reference: str) -> dict[str, str]:
    """A leaderboard row as the UI's table shows it: short strings only."""
    change = row.change_vs_wanda
    return {
        "#": "" if row.rank is None else str(row.rank),
        "candidate": _short(row.candidate),
        "perplexity": _figure(row.perplexity),
        f"vs {_short(reference)}": "" if change is None else f"{change:+.1%}",
        "sealed": "failed" if row.sealed_failure else _figure(row.sealed_perplexity),
        "sparsity": "" if row.sparsity is None else f"{row.sparsity:.2%}",
        "verdict": row.verdict_text,
        "formula": _short(row.formula),
        "allocation": _short(row.allocation),
    }


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _short(text: str) -> str:
    return one_line(text, CELL)
