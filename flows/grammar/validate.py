"""Grammar of ``autoprune validate``."""

import argparse

DESCRIPTION = (
    "Run a Python metric, def score(W, stats, params), a layer program, def prune_layer(W, stats, "
    "budget, params), or a block program, def prune_block(block, inputs, targets, budget, params), "
    "inside the locked container on small layers or blocks, and say whether it is accepted; which "
    "of them it is follows from the file. Exit code 0 accepted, 3 rejected, 4 no Docker. The file "
    "never runs outside the container."
)
EXAMPLE = "autoprune validate my_metric.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "file", metavar="FILE.py", help="Python file that defines score, prune_layer or prune_block"
    )
    parser.add_argument(
        "--statistics",
        metavar="NAMES",
        help="statistics in stats, by commas (default: x_max,x_mean,x_norm,x_var, as in a search)",
    )
