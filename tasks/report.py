"""Tasks that write a run's record, page and pictures."""

from autoprune.bench.inspection import Inspection
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.plain_text import in_code
from autoprune.report import data
from autoprune.report.data import RunReport
from autoprune.report.inspection_plot import inspection_png
from autoprune.report.page import TITLES, page, write_html
from autoprune.report.plots import pictures
from autoprune.report.run_report import build_report
from autoprune.search.search import Search
from autoprune.storage import atomic_file, read_object
from tasks.recorded import task_run
from tasks.run_files import RunFiles
from tasks.state import without_machine_paths


@task_run("report", "report {report.run_id}")
def write_report(files: RunFiles, report: RunReport) -> None:
    """Write the HTML report and the pictures of a run."""
    files.plots.mkdir(exist_ok=True)
    drawn = pictures(report)
    if files.inspection.exists():
        inspection = Inspection.from_json(read_object(files.inspection))
        if inspection is not None:
            drawn["inspection"] = inspection_png(inspection)
    for name, content in drawn.items():
        with atomic_file(files.plots / f"{name}.png") as temporary:
            temporary.write_bytes(content)
    write_page(files, report)


def write_page(files: RunFiles, report: RunReport) -> None:
    """Write the HTML report alone, where the record changed in nothing that pictures show."""
    write_html(files.page, report.run_id, run_page(files, report))


def run_page(files: RunFiles, report: RunReport, mlflow_place: str = "") -> str:
    """A run as one Markdown page with its last pictures; it names no place of this machine."""
    paths = {name: files.plots / f"{name}.png" for name in TITLES}
    drawn = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    places = [f"Full report: {in_code(str(files.page))}", *filter(None, [mlflow_place])]
    # The state folder holds the runs folder, which holds this run's.
    return without_machine_paths(page(report, drawn, places), files.folder.parent.parent)


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
