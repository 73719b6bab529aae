"""``autoprune prune``: one model, one recipe, one budget."""

import argparse

from flows import late
from flows.engine import open_engine
from flows.params import PruneParams
from flows.terminal.output import emit


def run(args: argparse.Namespace, params: PruneParams) -> int:
    """Prune and print the result."""
    with open_engine(args) as engine:
        record = engine.call(late.prune, params)
    emit(args, record, late.pruning_text(record, params))
    return 0
