"""``autoprune stage``: one stage of a search, gone on with or done again."""

import argparse

from flows.terminal.output import emit, pairs

NAME = "stage"
HELP = "do one stage of a search: what is open of it, else once more beside the record"
DESCRIPTION = (
    "Do one stage of a search that is there and nothing else. What is open of the stage is done "
    "and put on record, as `autoprune resume` does for all stages; what is on record is made again "
    "and compared, and the record stays as it is. calibrate collects the statistics again; design "
    "asks the open questions; validate and measure do what is open, else the winner or "
    "--candidate again; seal makes the final measurement; register saves and registers the winner. "
    "Exit code 0: done, and the same as on record; 1: other figures than on record."
)
EXAMPLE = "autoprune stage demo measure --candidate C3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from typing import get_args

    from flows.params.stages import StageName

    parser.add_argument("run_name", metavar="RUN", help="name of the search")
    parser.add_argument("stage", choices=get_args(StageName), help="which stage")
    parser.add_argument(
        "--candidate", metavar="NAME", help="validate or measure this one again, such as C3"
    )
    parser.add_argument(
        "--look-again",
        action="store_true",
        help="seal: look at the sealed text once more and compare; the ledger counts the look",
    )


def run(args: argparse.Namespace) -> int:
    """Do the stage and print what came of it."""
    from flows.params import StageParams, checked
    from flows.runs import find_run
    from tasks.state import State

    fields = {"run": args.run_name, "stage": args.stage, "candidate": args.candidate}
    params = checked(StageParams, fields | {"look_again": args.look_again})
    # Before a server is started for it.
    find_run(State.open(), args.run_name)
    from flows.engine import open_engine

    with open_engine(args) as engine:
        from flows.stage import stage

        record = engine.call(stage, params)
    from flows.searching.staging import verdict

    rows = [("stage", f"{record['stage']} of {record['run']}"), ("done", record["what"])]
    rows += [
        (row["figure"], row["now"] if row["agrees"] else f"{row['now']}, not {row['recorded']}")
        for row in record["compared"]
    ]
    rows += [("verdict", verdict(record))] * bool(record["compared"])
    emit(args, record, pairs(*rows, ("next", record["next"])))
    return 1 if record["agrees"] is False else 0
