"""``autoprune stage``: one stage of a search, gone on with or done again."""

import argparse

from flows import late
from flows.engine import open_engine
from flows.params import StageParams
from flows.runs import find_run
from flows.terminal.output import emit, pairs
from tasks.state import State


def run(args: argparse.Namespace, params: StageParams) -> int:
    """Do the stage and print what came of it."""
    # Check the name before a server is started for it.
    find_run(State.open(), args.run_name)
    with open_engine(args) as engine:
        record = engine.call(late.stage, params)
    rows = [("stage", f"{record['stage']} of {record['run']}"), ("done", record["what"])]
    rows += [
        (row["figure"], row["now"] if row["agrees"] else f"{row['now']}, not {row['recorded']}")
        for row in record["compared"]
    ]
    rows += [("verdict", late.verdict(record))] * bool(record["compared"])
    emit(args, record, pairs(*rows, ("next", record["next"])))
    return 1 if record["agrees"] is False else 0
