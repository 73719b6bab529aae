"""``autoprune calibrate``: the dense model's statistics, kept for later runs."""

import argparse

from flows import calibrate
from flows.calibrate.params import CalibrateParams
from flows.calibrate.text import calibration_text
from flows.engine import open_engine
from flows.terminal.output import emit


def run(args: argparse.Namespace, params: CalibrateParams) -> int:
    """Collect and print what is in the store."""
    with open_engine(args) as engine:
        record = engine.call(calibrate.calibrate, params)
    emit(args, record, calibration_text(record, params))
    return 0
