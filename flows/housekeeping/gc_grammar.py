"""Grammar of ``autoprune gc``."""

import argparse

DESCRIPTION = """\
Free disk space: store a winner and its copy in MLflow's folder as one file.
With --caches, also delete what is made again when needed: windows, statistics,
the sandbox's layer files and models downloaded from an MLflow server. To delete
searches, use `autoprune rm`.
"""
EXAMPLE = "autoprune gc --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--caches", action="store_true", help="also delete what can be made again")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be freed")
