"""Grammar of ``autoprune doctor``."""

import argparse

DESCRIPTION = """\
Check versions, Docker, the sandbox image, designer, demo model and text, stores
and disk. The exit code is 4 if something is missing.
"""
EXAMPLE = "autoprune doctor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--ask",
        action="store_true",
        help="start the local designer and check which answer format it enforces, if no search "
        "has yet",
    )
