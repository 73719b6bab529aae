"""``autoprune rm``: delete searches of this folder."""

import argparse
import sys

from flows.terminal.output import emit, tell

NAME = "rm"
HELP = "delete searches: log, report and winner"
DESCRIPTION = (
    "Delete searches of this folder with their log, report and winner. What MLflow and its "
    "registry hold of them stays, as do looks at sealed text. One that is at work is refused."
)
EXAMPLE = "autoprune rm evening"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names, see `autoprune ls runs`")
    parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")


def run(args: argparse.Namespace) -> int:
    """Delete and say what is gone."""
    from autoprune.report.benefit import megabytes
    from flows.housekeeping import remove_runs
    from tasks.state import State

    if not (args.yes or args.json) and sys.stdin.isatty() and sys.stderr.isatty():
        tell(f"delete {', '.join(args.runs)}? [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            emit(args, {"removed": []}, "nothing was deleted")
            return 0
    gone = remove_runs(State.open(), args.runs)
    lines = [f"deleted {each['run']} ({megabytes(each['bytes'])})" for each in gone]
    emit(args, {"removed": gone}, "\n".join([*lines, "next  autoprune ls runs"]))
    return 0
