"""Tasks that write a run's record, page and pictures."""

from pathlib import Path
from typing import Any

from autoprune.bench.inspection import Inspection
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.report import data, html, plots
from autoprune.report.data import RunReport
from autoprune.report.inspection_plot import inspection_png
from autoprune.report.run_report import build_report
from autoprune.search.search import Search
from autoprune.storage import atomic_file, read_object
from tasks.recorded import task_run
from tasks.run_files import RunFiles


@task_run("report", "report {report.run_id}")
def write_report(files: RunFiles, report: RunReport, out: str | None = None) -> dict[str, Any]:
    """Write the HTML report and the pictures of a run."""
    page = Path(out) if out is not None else files.page
    inspection = _inspection(files)
    html.write_html(report, page, inspection)
    files.plots.mkdir(exist_ok=True)
    pictures = plots.files(report)
    if inspection is not None:
        pictures["inspection.png"] = inspection_png(inspection)
    for name, content in pictures.items():
        with atomic_file(files.plots / name) as temporary:
            temporary.write_bytes(content)
    return {
        "run": report.run_id,
        "report": str(page),
        "plots": sorted(str(files.plots / name) for name in pictures),
        "candidates": len(report.candidates),
    }


def write_page(files: RunFiles, report: RunReport) -> None:
    """Write the HTML report alone, where the record changed in nothing that pictures show."""
    html.write_html(report, files.page, _inspection(files))


def _inspection(files: RunFiles) -> Inspection | None:
    """The inspection that the search was started with, if it had one with figures."""
    if not files.inspection.exists():
        return None
    return Inspection.from_json(read_object(files.inspection))


def current_report(files: RunFiles, run_id: str) -> RunReport:
    """Return a run's record, updated from its log; a running search keeps it up to date itself."""
    if not files.log.exists():
        raise UsageError(
            f"there is no run {run_id!r} in {files.folder.parent}; `autoprune ls candidates` "
            "without a name shows the latest"
        )
    try:
        with Search.open(files.folder, wait=0.0) as search:
            data.write_report(build_report(search, run_id, files.read_facts()), files.report)
    except (PrerequisiteError, UsageError):
        # It is running, or was made by another version: the last written record still holds.
        if not files.report.exists():
            raise
    return data.read_report(files.report)
