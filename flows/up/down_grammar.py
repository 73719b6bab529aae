"""Grammar of ``autoprune down``."""

import argparse

DESCRIPTION = """\
Stop the servers and the worker that `autoprune up` started from this state
folder, in this terminal or another. Nothing is lost: records stay, and an
interrupted search continues when you rerun it.
"""
EXAMPLE = "autoprune down"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""
