"""Grammar of ``autoprune rm``."""

import argparse

DESCRIPTION = """\
Delete searches of this folder with their log, report and winner. What MLflow
and its registry hold of them stays, and so do the recorded looks at sealed
text. A search that is at work is refused.
"""
EXAMPLE = "autoprune rm evening"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names; see `autoprune ls runs`")
    parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")
