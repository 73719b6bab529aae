"""``autoprune calibrate``: the dense model's statistics, kept for later runs."""

import argparse

from autoprune.plain_text import shell_line
from flows import late
from flows.engine import open_engine
from flows.params import CalibrateParams
from flows.terminal.output import emit, pairs


def run(args: argparse.Namespace, params: CalibrateParams) -> int:
    """Collect and print what is in the store."""
    with open_engine(args) as engine:
        record = engine.call(late.calibrate, params)
    lines = [
        ("statistics", ", ".join(record["statistics"])),
        ("from", f"{record['windows']} windows of {record['seqlen']} tokens of {params.corpus}"),
        ("time", f"{record['seconds']:.1f} s"),
        *(("note", note) for note in record["notes"]),
        ("next", _reuse(params)),
    ]
    emit(args, record, pairs(*lines))
    return 0


def _reuse(params: CalibrateParams) -> str:
    """Return the shell line that prunes with these statistics."""
    sizes = ("--calibration-windows", params.calibration_windows, "--seqlen", params.seqlen)
    text = ("--corpus", params.corpus)
    return shell_line("prune", params.model, "--statistics", "dense", *text, *sizes)
