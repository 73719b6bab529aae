"""Grammar of ``autoprune ls``."""

import argparse

from flows.search.runs import find_run
from tasks.state import State

WHAT = (
    *("metrics", "allocators", "repairs", "schemes", "suites", "verifiers", "corpora", "models"),
    *("runs", "candidates"),
    "sealed",
)
DESCRIPTION = """\
List the names that other commands take.

  runs        searches of this folder
  candidates  leaderboard of a search
  models      what opens without a download, and what the registry holds
  sealed      sealed sets that were looked at, and how often
"""
EXAMPLE = "autoprune ls metrics"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("what", choices=WHAT, type=_current)
    parser.add_argument(
        "--run",
        dest="run_name",
        metavar="RUN",
        help="search of the candidates (default: latest)",
    )


def _current(word: str) -> str:
    if word == "solvers":
        raise argparse.ArgumentTypeError("solvers is now repairs")
    return word


def read(args: argparse.Namespace) -> str | None:
    """Return the name of the search whose candidates are listed; None for other lists."""
    return find_run(State.at(), args.run_name) if args.what == "candidates" else None
