"""``autoprune compare``: many methods, one model, one fair table and a recommendation."""

import argparse
from typing import Any

from flows import compare
from flows.compare.params import CompareParams
from flows.compare.table import rendered
from flows.engine import open_engine
from flows.terminal.output import emit

# No method has a figure.
NOTHING = 3


def run(args: argparse.Namespace, params: CompareParams | dict[str, Any]) -> int:
    """Compare and print the table, or print the tables of a record."""
    if isinstance(params, CompareParams):
        with open_engine(args) as engine:
            record = engine.call(compare.compare, params)
    else:
        record = compare.tables_of_record(
            args.from_record,
            params.get("baseline"),
            params.get("out"),
            overwrite=params.get("overwrite", False),
        )
    emit(args, record, "" if args.json else rendered(record))
    return 0 if any(entry["method"] for entry in record["recommendation"]) else NOTHING
