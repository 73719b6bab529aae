"""``autoprune calibrate``: the dense model's statistics, kept for later runs."""

import argparse

from flows.terminal.output import emit, pairs

NAME = "calibrate"
HELP = "collect a model's statistics into the store"
DESCRIPTION = (
    "Collect the statistics of a dense model on calibration text into the store. `autoprune prune "
    "--statistics dense` with the same model, text and sizes finds them there."
)
EXAMPLE = "autoprune calibrate ./my-model --corpus text.txt --calibration-windows 16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from flows.params import CalibrateParams
    from flows.terminal.options import MODEL, add_options

    add_options(parser, CalibrateParams, required=MODEL)


def run(args: argparse.Namespace) -> int:
    """Collect and print what is in the store."""
    from flows.params import CalibrateParams
    from flows.terminal.options import given_with_model, settled

    params = settled(CalibrateParams, given_with_model(args, CalibrateParams))
    from flows.engine import open_engine

    with open_engine(args) as engine:
        from flows.calibrate import calibrate

        record = engine.call(calibrate, params)
    lines = [
        ("statistics", ", ".join(record["statistics"])),
        ("from", f"{record['windows']} windows of {record['seqlen']} tokens of {params.corpus}"),
        ("time", f"{record['seconds']:.1f} s"),
        *(("note", note) for note in record["notes"]),
        ("next", f"autoprune prune {params.model} --statistics dense --corpus {params.corpus}"),
    ]
    emit(args, record, pairs(*lines))
    return 0
