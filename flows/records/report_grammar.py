"""Grammar of ``autoprune report``."""

import argparse
from pathlib import Path

from autoprune.targets import check_file
from flows.search.runs import find_run
from flows.terminal.option_types import add_overwrite
from tasks.run_files import RunFiles
from tasks.state import State

DESCRIPTION = """\
Write the self-contained HTML report of a search from its record. Works while
the search is running and after it was interrupted.
"""
EXAMPLE = "autoprune report demo --out report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument("--out", metavar="FILE", help="file to write (default: in the run folder)")
    add_overwrite(parser, "an existing file")


def read(args: argparse.Namespace) -> str:
    """Return the name of the run that is meant; it exists, and the file is free."""
    state = State.at()
    run_id = find_run(state, args.run_name)
    if args.out is not None:
        folder = RunFiles.of(state, run_id).folder
        check_file(Path(args.out).expanduser(), sources=[folder], overwrite=args.overwrite)
    return run_id
