"""Grammar of ``autoprune report``."""

import argparse

from flows.terminal.option_types import add_overwrite

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
