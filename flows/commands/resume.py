"""``autoprune resume``: go on with a search that was interrupted."""

import argparse

from flows.commands.search import search_with

NAME = "resume"
HELP = "go on with an interrupted search"
DESCRIPTION = (
    "Go on with a search from its own record, with the settings it was started with; nothing that "
    "is finished is done again."
)
EXAMPLE = "autoprune resume demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )


def run(args: argparse.Namespace) -> int:
    """Read the run's settings and search on."""
    from flows.runs import find_run, saved_params
    from tasks.state import State

    state = State.open()
    return search_with(args, saved_params(state, find_run(state, args.run_name)))
