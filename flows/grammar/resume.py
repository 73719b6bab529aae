"""Grammar of ``autoprune resume``."""

import argparse

DESCRIPTION = (
    "Go on with a search from its own record, with the settings it was started with; nothing that "
    "is finished is done again. A run that Prefect still calls running although its process was "
    "killed is marked as crashed first. With --submit the worker of `autoprune up` goes on with "
    "that very run, as the Retry button of the UI does."
)
EXAMPLE = "autoprune resume demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument(
        "--submit", action="store_true", help="let the worker go on instead of this command"
    )
