"""Grammar of ``autoprune reproduce``."""

import argparse

from flows.terminal.option_types import add_overwrite

DESCRIPTION = (
    "Prune again by what MLflow records of a candidate, and compare the digest of the masks; the "
    "search's own files are not needed. Of a folder that a scheme made, its record is followed and "
    "the weight files are compared. Model and text must be those of the record. Exit code 0: the "
    "same, 1: others, or another model or text."
)
EXAMPLE = "autoprune reproduce demo C7 --out pruned-c7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN|DIR", help="name of the search, or a folder that a scheme made"
    )
    parser.add_argument(
        "candidate",
        metavar="CANDIDATE",
        nargs="?",
        help="a measured candidate or baseline of the search, such as C7",
    )
    parser.add_argument(
        "--corpus",
        metavar="REF",
        help="calibration text of a folder, where its record names a file (default: the record's)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the pruned model (default: none)")
    add_overwrite(parser, "a saved model that lies in DIR")
