"""Grammar of ``autoprune rm``."""

import argparse

DESCRIPTION = """\
Delete searches of this folder with their log, report and winner. What MLflow
and its registry hold of them stays, and so do the recorded looks at sealed
text. A search that is at work is refused.

With --caches, free disk space: a winner and its copy in MLflow's folder become
one file, and what is made again when needed is deleted: windows, statistics,
the sandbox's layer files and models downloaded from an MLflow server.
"""
EXAMPLE = "autoprune rm evening"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names; see `autoprune ls runs`")
    parser.add_argument("--caches", action="store_true", help="delete what can be made again")
    parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")
