"""Grammar of ``autoprune export-record``."""

import argparse

from flows.search.runs import find_run
from tasks.state import State

DESCRIPTION = """\
Write the record of a search as files that anyone can read and check:

  record.json      command, commit, machine, date, digests of the files
  losses.json      loss of every sealed window, by recipe
  events.jsonl     the whole log
  losses.jsonl     every measurement, with its loss per window
  questions.jsonl  every question to the designer, and its answer
  search.json      specification, model, text

The log is only read. The same log gives the same bytes.
"""
EXAMPLE = "autoprune export-record demo --out evidence/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")


def read(args: argparse.Namespace) -> str:
    """Return the name of the run that is meant; it exists."""
    return find_run(State.at(), args.run_name)
