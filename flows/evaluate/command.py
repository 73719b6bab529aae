"""``autoprune evaluate``: one model, any suites, alone or against another model."""

import argparse

from flows import evaluate
from flows.engine import open_engine
from flows.evaluate.params import EvaluateParams
from flows.evaluate.text import evaluation_text
from flows.terminal.output import emit, tell

REFUSED = 2


def run(args: argparse.Namespace, params: EvaluateParams) -> int:
    """Measure and print every figure with its protocol."""
    with open_engine(args) as engine:
        record = engine.call(evaluate.evaluate, params)
    emit(args, record, evaluation_text(record))
    if record["refusal"]:
        tell(f"autoprune: not compared: {record['refusal']}")
        return REFUSED
    return 0
