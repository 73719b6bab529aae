"""``autoprune compare``: many methods, one model, one fair table and a recommendation."""

import argparse
from typing import Any

from flows.terminal.output import emit

NAME = "compare"
HELP = "compare pruning methods on a model and say which to take"
DESCRIPTION = (
    "Compare pruning methods at several budgets over several calibration draws: strengths and the "
    "recommendation are chosen on selection windows, figures are measured on sealed ones, with "
    "paired intervals. A method is METRIC+PART+..., with the words of `autoprune prune`: an "
    "allocation, repairs, a comparison group, `sequential`. Finished cells are kept: the same "
    "command goes on, and one more method costs only that method."
)
EXAMPLE = (
    "autoprune compare ./my-model --methods wanda,wanda+ramp,wanda+sdsa+mrp,sparsegpt "
    "--sparsity 0.5,0.6 --pattern 2:4 --draws 3 --out comparison"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from flows.params.compare import CompareParams
    from flows.terminal.options import MODEL, add_options

    parser.add_argument(
        "--from",
        dest="from_record",
        metavar="DIR",
        help="print the tables of a record, without model and text; takes --baseline and --out",
    )
    add_options(parser, CompareParams, required=MODEL)


def run(args: argparse.Namespace) -> int:
    """Compare and print the table."""
    if args.from_record is not None:
        return _of_record(args)
    from flows.params.compare import CompareParams
    from flows.terminal.options import given_with_model, settled

    params = settled(CompareParams, given_with_model(args, CompareParams))
    from flows.engine import open_engine

    with open_engine(args) as engine:
        from flows.compare import compare

        record = engine.call(compare, params)
    emit(args, record, "" if args.json else _text(record))
    return 0


def _of_record(args: argparse.Namespace) -> int:
    """Print the tables of a record."""
    from autoprune.errors import UsageError
    from flows.params.compare import CompareParams
    from flows.terminal.options import given
    from tasks.compare_record import tables_of_record

    typed = given(args, CompareParams)
    if not typed.get("seed"):
        typed.pop("seed", None)
    others = [name for name in typed if name not in ("baseline", "out")]
    if others:
        names = ", ".join("MODEL" if n == "model" else f"--{n.replace('_', '-')}" for n in others)
        raise UsageError(
            f"--from prints what a record holds, so {names} can change nothing; leave it out, or "
            "measure with --record instead of --from"
        )
    record = tables_of_record(args.from_record, typed.get("baseline"), typed.get("out"))
    emit(args, record, "" if args.json else _text(record))
    return 0


def _text(record: dict[str, Any]) -> str:
    from flows.comparing.table import rendered

    return rendered(record)
