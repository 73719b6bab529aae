"""``autoprune up``: servers, worker and deployments."""

import argparse
import sys

NAME = "up"
HELP = "start the Prefect and MLflow servers and a worker (not there yet)"
DESCRIPTION = (
    "Start or reuse the Prefect server, the MLflow server and a worker, and deploy all flows. "
    "Not there yet: exits with 2."
)
EXAMPLE = "autoprune up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(args: argparse.Namespace) -> int:
    """Say that the command is not there yet."""
    print(
        "autoprune: up is not there yet; start `prefect server start` and "
        "`prefect --no-prompt deploy --all` by hand",
        file=sys.stderr,
    )
    return 2
