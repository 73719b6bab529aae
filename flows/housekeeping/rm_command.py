"""``autoprune rm``: delete searches of this folder."""

import argparse
import sys

from autoprune.report.benefit import megabytes
from flows.housekeeping.disk import remove_runs
from flows.terminal.output import emit, tell
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Delete and say what is gone."""
    if not (args.yes or args.json) and sys.stdin.isatty() and sys.stderr.isatty():
        tell(f"delete {', '.join(args.runs)}? [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            emit(args, {"removed": []}, "nothing was deleted")
            return 0
    gone = remove_runs(State.at(), args.runs)
    lines = [f"deleted {each['run']} ({megabytes(each['bytes'])})" for each in gone]
    emit(args, {"removed": gone}, "\n".join([*lines, "next  autoprune ls runs"]))
    return 0
