"""``autoprune promote``: move the champion when the gate passes."""

import argparse
import sys

NAME = "promote"
HELP = "compare a challenger with the champion and move the alias (not there yet)"
DESCRIPTION = (
    "Measure champion and challenger on the same text and move the registry's alias only when the "
    "gate passes. Not there yet: exits with 2."
)
EXAMPLE = "autoprune promote --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--dry-run", action="store_true", help="show the gate, move nothing")


def run(args: argparse.Namespace) -> int:
    """Say that the command is not there yet."""
    print(
        "autoprune: promote is not there yet; a search registers its winner as champion by itself",
        file=sys.stderr,
    )
    return 2
