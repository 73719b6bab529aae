"""Grammar of ``autoprune calibrate``."""

import argparse

from flows.calibrate.params import CalibrateParams
from flows.terminal.options import MODEL, add_options, given_with_model, settled

DESCRIPTION = """\
Collect the statistics of a dense model on calibration text and keep them in the
store. `autoprune prune --statistics dense` reuses them with the same model,
text and sizes.
"""
EXAMPLE = "autoprune calibrate ./my-model --corpus text.txt --calibration-windows 16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, CalibrateParams, required=MODEL)


def read(args: argparse.Namespace) -> CalibrateParams:
    """The parameters that were typed; every name in them exists."""
    return settled(CalibrateParams, given_with_model(args, CalibrateParams))
