"""``autoprune report``: write a run's report again."""

import argparse
from pathlib import Path

from autoprune.targets import check_file
from flows.runs import find_run
from flows.terminal.output import emit, pairs
from tasks.report import write_report
from tasks.run_files import RunFiles
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Render the report and print its path."""
    state = State.open()
    run_id = find_run(state, args.run_name)
    if args.out is not None:
        folder = RunFiles.of(state, run_id).folder
        check_file(Path(args.out).expanduser(), sources=[folder], overwrite=args.overwrite)
    record = write_report(str(state.root), run_id, args.out)
    rows = [("report", record["report"]), ("run", run_id), ("candidates", record["candidates"])]
    emit(args, record, pairs(*rows, ("next", f"autoprune ls candidates --run {run_id}")))
    return 0
