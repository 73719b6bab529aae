"""``autoprune report``: write a run's report again."""

import argparse
from pathlib import Path

from flows.terminal.option_types import add_overwrite
from flows.terminal.output import emit, pairs

NAME = "report"
HELP = "write the HTML report of a search"
DESCRIPTION = (
    "Write the self-contained HTML report of a search from its record; works while the search is "
    "running and after it was interrupted."
)
EXAMPLE = "autoprune report demo --out report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument("--out", metavar="FILE", help="where to write (default: the run's folder)")
    add_overwrite(parser, "a file of that name")


def run(args: argparse.Namespace) -> int:
    """Render and print where the report lies."""
    from autoprune.targets import check_file
    from flows.runs import find_run
    from tasks.report import write_report
    from tasks.run_files import RunFiles
    from tasks.state import State

    state = State.open()
    run_id = find_run(state, args.run_name)
    if args.out is not None:
        folder = RunFiles.of(state, run_id).folder
        check_file(Path(args.out).expanduser(), sources=[folder], overwrite=args.overwrite)
    record = write_report(str(state.root), run_id, args.out)
    rows = [("report", record["report"]), ("run", run_id), ("candidates", record["candidates"])]
    emit(args, record, pairs(*rows, ("next", f"autoprune ls candidates --run {run_id}")))
    return 0
