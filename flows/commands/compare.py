"""``autoprune compare``: many methods, one model, one fair table and a recommendation."""

import argparse
from typing import Any

from flows import late
from flows.comparing.table import rendered
from flows.engine import open_engine
from flows.params.compare import CompareParams
from flows.terminal.output import emit


def run(args: argparse.Namespace, params: CompareParams | dict[str, Any]) -> int:
    """Compare and print the table, or print the tables of a record."""
    if isinstance(params, CompareParams):
        with open_engine(args) as engine:
            record = engine.call(late.compare, params)
    else:
        wanted = params.get("baseline"), params.get("out")
        record = late.tables_of_record(args.from_record, *wanted)
    emit(args, record, "" if args.json else rendered(record))
    return 0
