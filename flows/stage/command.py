"""``autoprune stage``: one stage of a search, gone on with or done again."""

import argparse

from flows import stage
from flows.engine import open_engine
from flows.stage.params import StageParams
from flows.terminal.output import emit, pairs


def run(args: argparse.Namespace, params: StageParams) -> int:
    """Do the stage and print what came of it."""
    with open_engine(args) as engine:
        record = engine.call(stage.stage, params)
    rows = [("stage", f"{record['stage']} of {record['run']}"), ("done", record["what"])]
    rows += [
        (row["figure"], row["now"] if row["agrees"] else f"{row['now']}, not {row['recorded']}")
        for row in record["compared"]
    ]
    rows += [("verdict", stage.verdict(record))] * bool(record["compared"])
    emit(args, record, pairs(*rows, ("next", record["next"])))
    return 1 if record["agrees"] is False else 0
