"""``autoprune report``: write a run's report again."""

import argparse

from flows.terminal.output import emit, pairs
from tasks.report import current_report, write_report
from tasks.run_files import RunFiles
from tasks.state import State


def run(args: argparse.Namespace, run_id: str) -> int:
    """Render the report and print its path."""
    files = RunFiles.of(State.open(), run_id)
    record = write_report(files, current_report(files, run_id), args.out)
    rows = [("report", record["report"]), ("run", run_id), ("candidates", record["candidates"])]
    emit(args, record, pairs(*rows, ("next", f"autoprune ls candidates --run {run_id}")))
    return 0
