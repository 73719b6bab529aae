"""Grammar of ``autoprune compare``."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.comparison.record import require_record
from autoprune.errors import UsageError
from flows.compare.params import CompareParams
from flows.terminal.options import MODEL, add_options, given, given_with_model, settled

DESCRIPTION = """\
Compare pruning methods at several budgets over several calibration draws.
Strengths and the recommendation are chosen on selection windows. Figures are
measured on sealed windows, with paired intervals.

A method is METRIC+PART+..., with the words of `autoprune prune`: an allocation,
repairs, a comparison group, `sequential`. Finished cells are kept: the same
command continues where it stopped, and one more method costs only that method.
"""
EXAMPLE = (
    "autoprune compare ./my-model --methods wanda,wanda+ramp,wanda+sdsa+mrp,sparsegpt "
    "--sparsity 0.5,0.6 --pattern 2:4 --draws 3 --out comparison"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--from",
        dest="from_record",
        metavar="DIR",
        help="print the tables of a record, without model or text; takes --baseline, --out and "
        "--overwrite",
    )
    add_options(parser, CompareParams, required=MODEL)


def read(args: argparse.Namespace) -> CompareParams | dict[str, Any]:
    """Return the typed parameters; with --from, the few that apply to a record."""
    if args.from_record is None:
        return settled(CompareParams, given_with_model(args, CompareParams))
    typed = given(args, CompareParams)
    others = [name for name in typed if name not in ("baseline", "out", "overwrite")]
    if others:
        names = ", ".join("MODEL" if n == "model" else f"--{n.replace('_', '-')}" for n in others)
        raise UsageError(
            f"--from prints what a record holds, so {names} can change nothing; leave it out, or "
            "measure with --record instead of --from"
        )
    require_record(Path(args.from_record).expanduser().absolute())
    return typed
