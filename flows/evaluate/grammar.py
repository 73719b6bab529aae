"""Grammar of ``autoprune evaluate``."""

import argparse

from flows.evaluate.params import EvaluateParams
from flows.terminal.options import MODEL, add_options, given_with_model, settled

DESCRIPTION = """\
Measure a model with one or more suites. Every figure is printed with its
protocol. With --against, figures are compared pair by pair; those of different
protocols are kept but not compared (exit code 2). Text that the model was
calibrated on is left out. `autoprune ls suites` lists the suites and their
settings.
"""
EXAMPLE = "autoprune evaluate pruned --suite lm,reasoning,cost --against my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, EvaluateParams, required=MODEL)


def read(args: argparse.Namespace) -> EvaluateParams:
    """The parameters that were typed; every name in them exists."""
    return settled(EvaluateParams, given_with_model(args, EvaluateParams))
