"""``autoprune compare``: many methods, one model, one fair table and a recommendation."""

import argparse
from typing import Any

from flows.cli_types import add_overwrite, add_text_split, positive_number, share, whole_number
from flows.output import emit

NAME = "compare"
HELP = "compare pruning methods on a model and say which to take"
DESCRIPTION = (
    "Compare pruning methods at several budgets over several calibration draws: strengths and the "
    "recommendation are chosen on selection windows, figures are measured on sealed ones, with "
    "paired intervals. A method is METRIC+PART+..., with the words of `autoprune prune`: an "
    "allocation, solvers, a comparison group, `sequential`. Finished cells are kept: the same "
    "command goes on, and one more method costs only that method."
)
EXAMPLE = (
    "autoprune compare ./my-model --methods wanda,wanda+ramp,wanda+sdsa+mrp,sparsegpt "
    "--sparsity 0.5,0.6 --pattern 2:4 --seeds 3 --output comparison"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="hub id, folder, .gguf file or package:module/file.gguf",
    )
    parser.add_argument(
        "--from",
        dest="from_record",
        metavar="DIR",
        help="print the tables of a record, without model and text; takes --baseline and --output",
    )
    which = parser.add_argument_group("what is compared")
    which.add_argument(
        "--methods",
        metavar="LIST",
        help="methods with commas between: wanda,ria,wanda+sdsa:strength=0.2+mrp,sparsegpt",
    )
    which.add_argument(
        "--preset",
        choices=("quick", "paper", "full"),
        help=(
            "methods and budgets by name (default quick), and about how long 135 million "
            "parameters take on 2 cores; quick: 6 methods at 50 and 60 %%, 1 draw, 10 minutes; "
            "paper: 20 at 50, 60, 70 %% and 2:4, 3 draws, strengths tuned, the published ones, "
            "the best repairs and two controls, 6 hours; full: paper and 9 more, slow repairs "
            "among them, 10 hours"
        ),
    )
    which.add_argument("--metrics", metavar="LIST", help="cross product: metrics")
    which.add_argument("--allocations", metavar="LIST", help="cross product: allocations")
    which.add_argument("--solvers", metavar="LIST", help="cross product: solvers")
    which.add_argument(
        "--sparsity", metavar="LIST", type=shares, help="shares of zeros, such as 0.5,0.6,0.7"
    )
    which.add_argument(
        "--pattern", metavar="LIST", type=_words, help="N:M patterns, such as 2:4,4:8"
    )
    which.add_argument(
        "--statistics",
        choices=("dense", "sequential"),
        default="dense",
        help="of methods that do not say: dense (default, one pass shared by all) or sequential",
    )
    which.add_argument(
        "--peer",
        metavar="PYTHON",
        help="also run llm-compressor's Wanda and SparseGPT with this interpreter",
    )
    how = parser.add_argument_group("how it is measured")
    how.add_argument("--seeds", type=positive_number, help="calibration draws (default 3)")
    how.add_argument(
        "--tune",
        type=whole_number,
        metavar="N",
        help="selection trials for every allocation whose strength is left open (default 0)",
    )
    how.add_argument(
        "--corpus",
        metavar="REF",
        default="wikipedia-sample",
        help="a text (`autoprune ls corpora`), hf:ORG/NAME:SPLIT#COLUMN, or a .txt, .jsonl, "
        ".parquet file; split in three",
    )
    add_text_split(how)
    how.set_defaults(text_split=0)
    how.add_argument(
        "--samples", type=positive_number, default=16, help="calibration windows (default 16)"
    )
    how.add_argument(
        "--seqlen", type=positive_number, default=512, help="tokens in a window (default 512)"
    )
    how.add_argument(
        "--selection-windows", type=positive_number, default=8, help="selection windows (default 8)"
    )
    how.add_argument(
        "--windows", type=positive_number, default=100, help="sealed windows (default 100)"
    )
    how.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="type of the weights in memory (default float32); another is another comparison",
    )
    how.add_argument(
        "--precision",
        choices=("auto", "float32"),
        default="auto",
        help="products of block tuning: auto (default) rounds to bfloat16 where the processor is "
        "fast with it; float32 gives the same figures on every processor",
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--baseline",
        metavar="METHOD",
        action="append",
        help="method, or dense, that changes are against; may be given several times (default: "
        "wanda where it is compared, else dense)",
    )
    shown.add_argument(
        "--suite",
        metavar="NAME[,NAME]",
        help="suites that measure every pruned model too, as in `autoprune evaluate`; lm is the "
        "distance to the dense model on the sealed windows; tasks:names=arc_easy+boolq needs a hub",
    )
    shown.add_argument("--output", metavar="DIR", help="folder for tables, data and picture")
    add_overwrite(shown, "tables of another comparison that lie in DIR")
    shown.add_argument(
        "--record",
        metavar="DIR",
        help="folder for the raw record, from which --from makes every table again; a comparison "
        "goes on from the cells that lie there, whatever machine measured them",
    )
    where = parser.add_argument_group("machines")
    where.add_argument(
        "--runner",
        choices=("thread", "dask", "ray"),
        default="thread",
        help=(
            "where cells are measured (default thread: in this process, one after the other, since "
            "all prune the same weights; dask and ray: several processes, each with the model)"
        ),
    )
    where.add_argument(
        "--workers", type=positive_number, default=2, help="workers of dask or ray here (default 2)"
    )
    where.add_argument("--runner-address", metavar="URL", help="a cluster that is there already")
    where.add_argument(
        "--shared-store", metavar="PLACE", help="folder or fsspec URL that all workers read"
    )


def shares(text: str) -> list[float]:
    """Sparsities with commas between."""
    return [share(word) for word in _words(text)]


def run(args: argparse.Namespace) -> int:
    """Compare and print the table."""
    if args.from_record is not None:
        return _of_record(args)
    if args.model is None:
        from autoprune.errors import UsageError

        raise UsageError("the model is missing; write `autoprune compare MODEL`, or --from DIR")
    from flows.compare_params import CompareParams
    from flows.engine import open_engine
    from flows.params import checked

    fields = CompareParams.model_fields
    params = checked(CompareParams, {name: getattr(args, name) for name in fields})
    with open_engine(args) as engine:
        from flows.compare import compare

        record = engine.call(compare, params)
    emit(args, record, "" if args.json else _text(record))
    return 0


def _of_record(args: argparse.Namespace) -> int:
    """Print the tables of a record."""
    from autoprune.errors import UsageError
    from tasks.compare_record import tables_of_record

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    plain = parser.parse_args(["--from", args.from_record])
    allowed = ("from_record", "baseline", "output", "json", "quiet", "verbose", "run")
    given = [n for n, v in vars(args).items() if n not in allowed and v != getattr(plain, n, v)]
    if given:
        names = ", ".join("MODEL" if n == "model" else f"--{n.replace('_', '-')}" for n in given)
        raise UsageError(
            f"--from prints what a record holds, so {names} can change nothing; leave it out, or "
            "measure with --record instead of --from"
        )
    record = tables_of_record(args.from_record, args.baseline, args.output)
    emit(args, record, "" if args.json else _text(record))
    return 0


def _text(record: dict[str, Any]) -> str:
    from flows.compare_table import rendered

    return rendered(record)


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]
