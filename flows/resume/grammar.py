"""Grammar of ``autoprune resume``."""

import argparse

from autoprune.errors import UsageError
from flows.search.runs import find_run, going_on
from tasks.state import State

DESCRIPTION = """\
Continue a search from its own record, with the settings it was started with, on
the same kind of device. Finished work is not repeated. If the process of a run
was killed but Prefect still shows it as running, the run is first marked as
crashed. With --submit, the worker of `autoprune up` continues that same run, as
the Retry button of the UI does. A night needs it: without, its search alone
continues, and the gate is not asked.
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
    """Return the name of the run that is meant; it exists, and so does its device."""
    if args.submit and args.device is not None:
        raise UsageError(
            f"--device {args.device}: with --submit, the worker keeps the settings that the run "
            "was started with; leave out one of them"
        )
    state = State.at()
    run_id = find_run(state, args.run_name)
    going_on(state, run_id, args.device)
    return run_id
