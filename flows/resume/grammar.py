"""Grammar of ``autoprune resume``."""

import argparse

from flows.params.named import check_device
from flows.search.runs import find_run
from tasks.state import State

DESCRIPTION = """\
Continue a search from its own record, with the settings it was started with.
Finished work is not repeated. If the process of a run was killed but Prefect
still shows it as running, the run is first marked as crashed. With --submit, the
worker of `autoprune up` continues that same run, as the Retry button of the UI
does. A night needs it: without, its search alone continues, and the gate is not
asked.
"""
EXAMPLE = "autoprune resume demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument(
        "--submit", action="store_true", help="continue in the worker instead of in this command"
    )


def read(args: argparse.Namespace) -> str:
    """Return the name of the run that is meant; it exists."""
    run_id = find_run(State.at(), args.run_name)
    check_device()
    return run_id
