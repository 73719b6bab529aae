"""``autoprune prune``: one model, one recipe, one budget."""

import argparse

from flows import prune
from flows.engine import open_engine
from flows.prune.params import PruneParams
from flows.terminal.output import emit


def run(args: argparse.Namespace, params: PruneParams) -> int:
    """Prune and print the result."""
    with open_engine(args) as engine:
        record = engine.call(prune.prune, params)
    emit(args, record, prune.pruning_text(record, params))
    return 0
