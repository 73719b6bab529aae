"""Grammar of ``autoprune up``."""

import argparse

from flows.terminal.options import add_options, given, settled
from flows.up.params import UpParams

DESCRIPTION = """\
Start or reuse the Prefect server, the MLflow server and a worker. Create the
work pool, the concurrency limits, the experiment and the automation that finds
killed runs, and deploy all flows. Running it again changes nothing. If
PREFECT_API_URL and MLFLOW_TRACKING_URI are set, those servers are used instead.

No search runs at night unless --schedule names it. In the foreground, a part
that ends by itself is restarted, and Ctrl-C stops what this command started.
With --detach, everything keeps running until `autoprune down`, and nothing
restarts a part that ends.
"""
EXAMPLE = "autoprune up --detach --schedule ./my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, UpParams)


def read(args: argparse.Namespace) -> UpParams:
    """The parameters that were typed."""
    return settled(UpParams, given(args, UpParams))
