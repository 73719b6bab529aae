"""``autoprune report``: write a run's report again."""

import argparse

from flows.terminal.output import emit, pairs
from tasks.report import write_report
from tasks.state import State


def run(args: argparse.Namespace, run_id: str) -> int:
    """Render the report and print its path."""
    record = write_report(str(State.open().root), run_id, args.out)
    rows = [("report", record["report"]), ("run", run_id), ("candidates", record["candidates"])]
    emit(args, record, pairs(*rows, ("next", f"autoprune ls candidates --run {run_id}")))
    return 0
