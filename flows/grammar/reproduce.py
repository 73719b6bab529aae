"""Grammar of ``autoprune reproduce``."""

import argparse

from flows.terminal.option_types import add_overwrite

DESCRIPTION = """\
Candidate: prune again from its MLflow record and compare the digest of the
masks. The search's own files are not needed.

Folder made by a scheme: follow its record and compare the weight files.

Model and text must be those of the record. Exit code 0: identical; 1: different,
or another model or text.
"""
EXAMPLE = "autoprune reproduce demo C7 --out pruned-c7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN|DIR", help="name of a search, or folder that a scheme made"
    )
    parser.add_argument(
        "candidate",
        metavar="CANDIDATE",
        nargs="?",
        help="measured candidate or baseline of the search, such as C7",
    )
    parser.add_argument(
        "--corpus",
        metavar="REF",
        help="calibration text of a folder whose record names a file (default: the record's)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the pruned model (default: none)")
    add_overwrite(parser, "an existing saved model in DIR")
