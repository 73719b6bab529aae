"""Grammar of ``autoprune validate``."""

import argparse
from pathlib import Path

from autoprune.program_files import metric_source
from flows.params.fields import listed

DESCRIPTION = """\
Run a Python file in the locked container, on small layers or blocks, and report
whether it is accepted. The file defines one of these, and never runs outside
the container:

  def score(W, stats, params)                              a metric
  def prune_layer(W, stats, budget, params)                a layer program
  def prune_block(block, inputs, targets, budget, params)  a block program

Exit code 0: accepted; 3: rejected; 4: no Docker.
"""
EXAMPLE = "autoprune validate my_metric.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "file", metavar="FILE.py", help="Python file that defines score, prune_layer or prune_block"
    )
    parser.add_argument(
        "--statistics",
        metavar="NAMES",
        help="names in stats, comma-separated (default: x_max,x_mean,x_norm,x_var, as in a search)",
    )


def read(args: argparse.Namespace) -> list[str] | None:
    """Return the names of the statistics, None for the usual ones; the file is text."""
    metric_source(Path(args.file))
    return None if args.statistics is None else listed(args.statistics)
