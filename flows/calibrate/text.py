"""The result of a calibration as text for people."""

from collections.abc import Mapping
from typing import Any

from autoprune.plain_text import shell_line
from flows.calibrate.params import CalibrateParams
from flows.terminal.output import pairs


def calibration_text(record: Mapping[str, Any], params: CalibrateParams) -> str:
    """Format what is in the store now, and the command that prunes with it."""
    sizes: tuple[Any, ...] = (
        "--calibration-windows",
        params.calibration_windows,
        "--seqlen",
        params.seqlen,
    )
    text = ("--corpus", params.corpus, *(("--seed", params.seed) if params.seed else ()))
    if params.dtype != "float32":
        # Statistics are kept by the type of the weights.
        sizes += ("--dtype", params.dtype)
    return pairs(
        ("statistics", ", ".join(record["statistics"])),
        ("from", f"{record['windows']} windows of {record['seqlen']} tokens of {params.corpus}"),
        ("time", f"{record['seconds']:.1f} s"),
        *(("note", note) for note in record["notes"]),
        ("next", shell_line("prune", params.model, "--statistics", "dense", *text, *sizes)),
    )
