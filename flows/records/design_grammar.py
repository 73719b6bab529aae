"""Grammar of ``autoprune design``."""

import argparse

from flows.search.runs import find_run
from tasks.state import State

DESCRIPTION = """\
render: fill the prompt templates with what a search would ask next, taken from
its record. No designer is asked and nothing changes.

You can try a folder of your own templates on any run. To search with them, use
`autoprune search --prompts FOLDER`.
"""
EXAMPLE = "autoprune design render demo --operator exploit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("render",), help="what to do")
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument("--operator", metavar="NAME", help="only this operator, such as exploit")
    parser.add_argument("--prompts", metavar="FOLDER", help="templates that replace built-in ones")
    parser.add_argument("--grammar", action="store_true", help="also show the answer's grammar")


def read(args: argparse.Namespace) -> str:
    """Return the name of the run that is meant; it exists."""
    return find_run(State.at(), args.run_name)
