"""``autoprune search``: let a designer find how a model is best pruned."""

import argparse
from typing import Any, get_args

from autoprune.design.kinds import DesignerKind
from flows.cli_types import add_text_split, positive_number, share, whole_number
from flows.output import emit

NAME = "search"
HELP = "let a designer LLM search for the best way to prune a model"
DESCRIPTION = (
    "Search: measure baselines, ask the designer for metrics, validate each in the sandbox, prune "
    "and measure, feed the results back; at the end measure the winner once on a sealed set, whose "
    "earlier looks are counted, log it to MLflow and write a report. The same command goes on "
    "where it stopped."
)
EXAMPLE = "autoprune search --model ./my-model --corpus text.txt --sparsity 0.6 --candidates 24"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_data_arguments(parser)
    add_designer_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """What is pruned, how much, and on what text."""
    group = parser.add_argument_group("what")
    group.add_argument("--model", metavar="REF", help="model (default: the demo's)")
    group.add_argument(
        "--corpus",
        metavar="REF",
        help="text: a name, hf:ORG/NAME:SPLIT#COLUMN or a file (default: wikipedia-sample)",
    )
    group.add_argument(
        "--sparsity",
        type=share,
        help="share of zeros, 0 ≤ s < 1 (default 0.6; an N:M pattern has its own)",
    )
    group.add_argument("--pattern", help="unstructured (default) or N:M, such as 2:4")
    group.add_argument(
        "--solver",
        help="repair of the weights that stay, or several to choose from: none,mrp,ebft:epochs=2 "
        "(default auto: the usual ones to choose from)",
    )
    group.add_argument("--samples", type=positive_number, help="calibration windows (default 16)")
    group.add_argument("--seqlen", type=positive_number, help="tokens in a window (default 512)")
    group.add_argument(
        "--rung-windows", type=positive_number, help="windows of the cheap measurement (default 4)"
    )
    group.add_argument(
        "--windows", type=positive_number, help="windows that decide the ranking (default 12)"
    )
    group.add_argument(
        "--sealed-windows", type=positive_number, help="windows read once at the end (default 100)"
    )
    group.add_argument(
        "--fitness",
        choices=("perplexity", "kl", "both"),
        help="what ranks recipes: loss (default), distance to the dense model, or their sum",
    )
    group.add_argument(
        "--also",
        dest="also_sparsities",
        type=share,
        action="append",
        metavar="S",
        help="another share of zeros at which the best have to hold too; may be repeated",
    )
    group.add_argument(
        "--draws", type=positive_number, help="calibration draws of the winner (default 3)"
    )
    add_text_split(group)
    group.add_argument("--run", dest="run_name", metavar="NAME", help="name of the run")
    group.add_argument(
        "--no-register",
        dest="register_winner",
        action="store_false",
        default=None,
        help="do not log and register the winner's checkpoint",
    )


def add_designer_arguments(parser: argparse.ArgumentParser) -> None:
    """Who designs, for how long, and where designs run."""
    group = parser.add_argument_group("designer")
    group.add_argument(
        "--designer",
        choices=get_args(DesignerKind),
        help="who writes candidates (default auto: the endpoint when set, else the local model; "
        "self: the target itself, from its GGUF file; none: no language model, the search's own "
        "moves only)",
    )
    group.add_argument("--base-url", metavar="URL", help="OpenAI-compatible endpoint")
    group.add_argument(
        "--designer-model",
        metavar="NAME",
        help="model name at the endpoint, or several with commas between, chosen among by what "
        "they gain; of the designer local, a .gguf file",
    )
    group.add_argument("--temperature", type=float, help="sampling temperature (default 0.8)")
    group.add_argument(
        "--answer-tokens",
        type=positive_number,
        metavar="N",
        help="limit of one answer, thoughts included (default 160, code 800; a model that thinks "
        "needs some thousands)",
    )
    group.add_argument(
        "--prompt-tokens",
        type=positive_number,
        metavar="N",
        help="budget of one prompt (default 640, code 1600)",
    )
    group.add_argument(
        "--language",
        choices=("expression", "python", "both"),
        help="formulas (default), Python code, or both",
    )
    group.add_argument(
        "--no-hints",
        dest="hints",
        action="store_false",
        default=None,
        help="ask without the ideas that people wrote down",
    )
    group.add_argument(
        "--prompts", metavar="FOLDER", help="prompt templates that replace ours of the same name"
    )
    group.add_argument("--script", metavar="FILE", help="answers of the scripted designer")
    group.add_argument(
        "--sandbox",
        choices=("docker", "off"),
        help="where designs run (default docker; off: formulas only, no Docker needed)",
    )
    where = parser.add_argument_group("machines")
    where.add_argument(
        "--runner",
        choices=("thread", "dask", "ray"),
        help="where candidates are measured (default thread: in this process)",
    )
    where.add_argument(
        "--workers", type=positive_number, help="workers of dask or ray here (default 2)"
    )
    where.add_argument("--runner-address", metavar="URL", help="a cluster that is there already")
    where.add_argument(
        "--shared-store", metavar="PLACE", help="folder or fsspec URL that all workers read"
    )
    budget = parser.add_argument_group("budget")
    budget.add_argument("--candidates", type=whole_number, help="designed candidates (default 24)")
    budget.add_argument(
        "--minutes",
        type=float,
        help="minutes of designing and measuring; loading, calibration and saving come on top",
    )
    budget.add_argument("--tokens", type=positive_number, help="designer tokens")
    budget.add_argument(
        "--money", type=float, metavar="DOLLARS", help="designer answers, at the price of --price"
    )
    budget.add_argument(
        "--price",
        metavar="IN,OUT",
        help="dollars per million tokens of questions and of answers (default with --money: "
        "AUTOPRUNE_PRICE_PROMPT and AUTOPRUNE_PRICE_ANSWER)",
    )
    budget.add_argument(
        "--slots", type=positive_number, help="candidates per generation (default 4)"
    )


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The search parameters that were named on the command line."""
    from flows.params import SearchParams

    values = {
        name: getattr(args, name)
        for name in SearchParams.model_fields
        if name != "run" and getattr(args, name, None) is not None
    }
    if "money" in values and "price" not in values:
        values |= _known_price()
    return values if args.run_name is None else values | {"run": args.run_name}


def _known_price() -> dict[str, Any]:
    """The price that the environment names, if it names both parts."""
    from tasks.calls import prices

    asking, answering = prices()
    return {} if asking is None or answering is None else {"price": f"{asking:f},{answering:f}"}


def run(args: argparse.Namespace) -> int:
    """Search and print the leaderboard."""
    from flows.params import SearchParams, checked

    return search_with(args, checked(SearchParams, given(args)))


def search_with(args: argparse.Namespace, params: Any) -> int:
    """Run the search flow and print what came out; 3 when no design could be measured."""
    from flows.engine import open_engine
    from flows.leaderboard import closing_text

    with open_engine(args) as engine:
        from flows.search import search

        record = engine.call(search, params)
    emit(args, record, closing_text(record), coloured=True)
    return 0 if record["passed"] else 3
