"""``autoprune validate``: what the sandbox says about a metric in a file."""

import argparse

from flows.output import emit, pairs

NAME = "validate"
HELP = "run a metric in the sandbox and say whether it is accepted"
DESCRIPTION = (
    "Run a Python metric, def score(W, stats, params), inside the locked container on small "
    "layers, and say whether a search would accept it. Exit code 0 accepted, 3 rejected, 4 no "
    "Docker. The file never runs outside the container."
)
EXAMPLE = "autoprune validate my_metric.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", metavar="FILE.py", help="Python file that defines score")


def run(args: argparse.Namespace) -> int:
    """Ask the sandbox and print its verdict."""
    from flows.console import open_screen
    from tasks.state import State
    from tasks.validate import validate_file

    with open_screen(quiet=args.quiet):
        record = validate_file.fn(str(State.open().root), args.file)
    if record["ok"]:
        rows = [("accepted", args.file), ("time", f"{record['seconds']:.2f} s")]
        rows.append(("next", f"autoprune prune --model REF --metric {args.file} --out pruned"))
    else:
        rows = [("rejected", record["code"]), ("why", record["detail"])]
        rows.append(("next", "change the file and validate it again"))
    emit(args, record, pairs(*rows))
    return 0 if record["ok"] else 3
