"""``autoprune search``: let a designer find how a model is best pruned."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.terminal.output import emit

NAME = "search"
HELP = "let a designer LLM search for the best way to prune a model"
DESCRIPTION = (
    "Search: measure baselines, ask the designer for metrics, validate each in the sandbox, prune "
    "and measure, feed the results back; at the end measure the winner once on a sealed set, whose "
    "earlier looks are counted, log it to MLflow and write a report. The same command goes on "
    "where it stopped."
)
EXAMPLE = "autoprune search ./my-model --corpus text.txt --sparsity 0.6 --candidates 24"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from flows.params import SearchParams
    from flows.terminal.options import add_options

    add_options(parser, SearchParams)
    add_config(parser)
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema of that file, search nothing"
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """The option of a file with settings."""
    parser.add_argument(
        "--config",
        metavar="FILE.yaml",
        help="file with settings, named as the options with _ for -; what is typed goes before it",
    )


def search_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The search parameters of the command line, of its file, or of the environment."""
    from flows.params import SearchParams
    from flows.terminal.options import given

    values = given(args, SearchParams)
    if getattr(args, "config", None) is not None:
        from flows.terminal.settings_file import read_search

        values = read_search(Path(args.config).expanduser()) | values
    if "money" in values and "price" not in values:
        values |= _known_price()
    return values


def _known_price() -> dict[str, Any]:
    """The price that the environment names, if it names both parts."""
    from tasks.calls import prices

    asking, answering = prices()
    return {} if asking is None or answering is None else {"price": f"{asking:f},{answering:f}"}


def run(args: argparse.Namespace) -> int:
    """Search and print the leaderboard."""
    from flows.params import SearchParams
    from flows.terminal.options import settled

    if args.schema:
        print(json.dumps(SearchParams.model_json_schema(), indent=2))
        return 0
    return search_with(args, settled(SearchParams, search_settings(args)))


def search_with(
    args: argparse.Namespace, params: Any, then: Callable[..., str] | None = None
) -> int:
    """Run the search flow and print what came out; 3 when no design could be measured.

    Args:
        args: Of the command.
        params: Of the search.
        then: Called with the engine, the parameters and the record, to which it may add; gives
            more text.
    """
    from flows.engine import open_engine
    from flows.searching.leaderboard import closing_text

    with open_engine(args) as engine:
        from flows.search import search

        record = engine.call(search, params)
        more = "" if then is None else then(engine, params, record)
    emit(args, record, closing_text(record) + more, coloured=True)
    return 0 if record["passed"] else 3
