"""``autoprune evaluate``: one model, any suites, alone or against another model."""

import argparse

from flows.terminal.output import emit, tell

NAME = "evaluate"
HELP = "measure a model: perplexity, tasks, reasoning, dated questions, code, cost"
DESCRIPTION = (
    "Measure a model by suites. Every figure is printed with its protocol; with --against it is "
    "compared pair by pair; figures of different protocols are kept and not compared (exit code "
    "2). Text that the model was calibrated on is left out. `autoprune ls suites` lists suites and "
    "their settings."
)
REFUSED = 2
EXAMPLE = "autoprune evaluate pruned --suite lm,reasoning,cost --against my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from flows.params.evaluate import EvaluateParams
    from flows.terminal.options import MODEL, add_options

    add_options(parser, EvaluateParams, required=MODEL)


def run(args: argparse.Namespace) -> int:
    """Measure and print every figure with its protocol."""
    from flows.params.evaluate import EvaluateParams
    from flows.terminal.evaluation_text import evaluation_text
    from flows.terminal.options import given_with_model, settled

    params = settled(EvaluateParams, given_with_model(args, EvaluateParams))
    from flows.engine import open_engine

    with open_engine(args) as engine:
        from flows.evaluate import evaluate

        record = engine.call(evaluate, params)
    emit(args, record, evaluation_text(record))
    if record["refusal"]:
        tell(f"autoprune: not compared: {record['refusal']}")
        return REFUSED
    return 0
