"""``autoprune evaluate``: perplexity of one model on one text."""

import argparse

from flows.cli_types import positive_number
from flows.output import emit, pairs

NAME = "evaluate"
HELP = "measure the perplexity of a model"
DESCRIPTION = (
    "Measure perplexity on consecutive, non-overlapping windows from the start of the text; every "
    "token but the first of a window is scored."
)
EXAMPLE = "autoprune evaluate --model pruned --corpus text.txt --windows 20 --seqlen 512"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--model",
        metavar="REF",
        required=True,
        help="hub id, folder, .gguf file or package:module/file.gguf",
    )
    parser.add_argument(
        "--corpus",
        metavar="REF",
        default="wikipedia-sample",
        help="c4, wikitext2, wikipedia-sample or a .txt, .jsonl, .parquet file",
    )
    parser.add_argument("--windows", type=positive_number, default=20, help="windows (default 20)")
    parser.add_argument(
        "--seqlen", type=positive_number, default=512, help="tokens in a window (default 512)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print the figure."""
    from flows.engine import open_engine
    from flows.params import EvaluateParams, checked

    fields = EvaluateParams.model_fields
    params = checked(EvaluateParams, {name: getattr(args, name) for name in fields})
    with open_engine(args) as engine:
        from flows.evaluate import evaluate

        record = engine.call(evaluate, params)
    text = pairs(
        ("perplexity", f"{record['perplexity']:.3f}"),
        ("tokens", f"{record['tokens']:,} scored in {record['windows']} windows"),
        ("time", f"{record['seconds']:.1f} s"),
        ("next", f"autoprune prune --model {args.model} --sparsity 0.6 --out pruned"),
    )
    emit(args, record, text)
    return 0
