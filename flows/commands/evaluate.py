"""``autoprune evaluate``: one model, any suites, alone or against another model."""

import argparse

from flows.cli_types import add_text_split, positive_number, whole_number
from flows.output import emit, tell

NAME = "evaluate"
HELP = "measure a model: perplexity, tasks, reasoning, dated questions, cost"
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
    parser.add_argument(
        "ref", nargs="?", metavar="MODEL",
        help="hub id, folder, .gguf file or package:module/file.gguf",
    )  # fmt: skip
    parser.add_argument("--model", metavar="REF", help="the same as MODEL")
    parser.add_argument(
        "--suite",
        metavar="NAME[,NAME]",
        default="lm",
        help="suites (default lm); further settings as NAME:key=value,key=value",
    )
    parser.add_argument(
        "--against",
        metavar="REF|FILE.json",
        help="compare with this model, or with the --json record of a former run",
    )
    _text_options(parser)
    _item_options(parser)
    cost = parser.add_argument_group("suite cost")
    cost.add_argument(
        "--batches", metavar="N[,N]", default="1,4,8", help="batch sizes (default 1,4,8)"
    )
    cost.add_argument(
        "--repeats", type=positive_number, default=5, help="timed runs per size (default 5)"
    )
    hygiene = parser.add_argument_group("hygiene")
    hygiene.add_argument(
        "--overlap",
        choices=("drop", "refuse", "report"),
        default="drop",
        help="test text that the model was calibrated on: left out (default), refused, reported",
    )
    hygiene.add_argument(
        "--references", metavar="REF[,REF]", help="further texts that the model has seen"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="type of the weights in memory (default float32)",
    )


def _text_options(parser: argparse.ArgumentParser) -> None:
    text = parser.add_argument_group("suite lm (--corpus: lastword and degenerate too)")
    text.add_argument(
        "--corpus",
        metavar="REF[,REF]",
        default="wikipedia-sample",
        help="texts (`autoprune ls corpora`: wikitext2, c4-validation, ptb are for figures), "
        "hf:ORG/NAME:SPLIT#COLUMN, .txt, .jsonl, .parquet files",
    )
    text.add_argument(
        "--part",
        choices=("all", "calibration", "selection", "sealed"),
        default="all",
        help="whole text (default) or one of its three parts; looks at sealed text are counted",
    )
    add_text_split(text)
    text.set_defaults(text_split=0)
    text.add_argument("--windows", type=positive_number, default=100, help="windows (default 100)")
    text.add_argument(
        "--seqlen", type=positive_number, default=512, help="tokens in a window (default 512)"
    )


def _item_options(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_argument_group("suite tasks")
    tasks.add_argument(
        "--tasks",
        metavar="NAME[,NAME]",
        help="lm-eval tasks, groups (seven-rte, seven-piqa) or names from --task-folder",
    )
    tasks.add_argument("--task-folder", metavar="DIR", help="folder with task files of your own")
    tasks.add_argument("--shots", type=whole_number, help="examples in the prompt")
    tasks.add_argument(
        "--limit", type=positive_number, help="items per task; for live, the newest ones"
    )
    reasoning = parser.add_argument_group("suite reasoning")
    reasoning.add_argument("--generators", metavar="NAME[,NAME]", help="generators (default all)")
    reasoning.add_argument(
        "--problems", type=positive_number, default=50, help="problems of each (default 50)"
    )
    live = parser.add_argument_group("suite live")
    live.add_argument("--live-file", metavar="FILE", help=".jsonl or .parquet of dated questions")
    live.add_argument(
        "--cutoff", metavar="DATE", help="last day of the model's training data, such as 2024-03"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print every figure with its protocol."""
    from flows.engine import open_engine
    from flows.evaluate_params import EvaluateParams
    from flows.evaluation_text import evaluation_text
    from flows.params import checked

    args.model = one_model(args)
    fields = EvaluateParams.model_fields
    params = checked(EvaluateParams, {name: getattr(args, name) for name in fields})
    with open_engine(args) as engine:
        from flows.evaluate import evaluate

        record = engine.call(evaluate, params)
    emit(args, record, evaluation_text(record))
    if record["refusal"]:
        tell(f"autoprune: not compared: {record['refusal']}")
        return REFUSED
    return 0


def one_model(args: argparse.Namespace) -> str:
    """The model, given as a word or as an option, but not as both.

    Raises:
        UsageError: If it is missing or given twice.
    """
    from autoprune.errors import UsageError

    given = [text for text in (args.ref, args.model) if text is not None]
    if len(given) != 1:
        found = "is missing" if not given else f"is given twice, {given[0]!r} and {given[1]!r}"
        raise UsageError(f"the model {found}; write `autoprune {args.command} MODEL`")
    return str(given[0])
