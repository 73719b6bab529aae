"""Grammar of ``autoprune gc``."""

import argparse

DESCRIPTION = (
    "Let a winner and its copy in MLflow's folder be one file on disk. With --caches also delete "
    "what is made again when it is needed: windows, statistics and the sandbox's layer files. "
    "Searches are deleted by `autoprune rm`."
)
EXAMPLE = "autoprune gc --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--caches", action="store_true", help="also what can be made again")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be freed")
