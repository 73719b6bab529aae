"""``autoprune ls``: names that other commands take."""

import argparse

from flows.ls.listings import listing
from flows.terminal.output import emit


def run(args: argparse.Namespace, run_id: str | None) -> int:
    """Print the list."""
    record, text = listing(args.what, run_id)
    # The candidates' table has colours of its own, and sanitizes what it shows.
    emit(args, record, text, coloured=args.what == "candidates")
    return 0
