"""Grammar of ``autoprune search``."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.search.params import SearchParams
from flows.terminal.options import add_options, add_renamed, given, settled
from flows.terminal.settings_file import read_search
from tasks.switches import prices

DESCRIPTION = """\
Search for the best way to prune a model: measure baselines, ask the designer
for metrics, validate each in the sandbox, prune and measure, and feed the
results back. At the end, measure the winner once on a sealed set, whose earlier
looks are counted, log it to MLflow and write a report. The same command
continues where it stopped.
"""
EXAMPLE = "autoprune search ./my-model --corpus text.txt --sparsity 0.6 --candidates 24"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_search_options(parser)
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema of that file and exit"
    )


def add_search_options(
    parser: argparse.ArgumentParser, defaults: Mapping[str, Any] | None = None
) -> None:
    """Add the options of a search, and that for a file of them; see :func:`add_options`."""
    add_options(parser, SearchParams, defaults=defaults)
    # These name no field, so that no record has the earlier name.
    add_renamed(parser, "--also", "--also-sparsities")
    add_renamed(parser, "--no-register", "--no-register-winner")
    parser.add_argument(
        "--config",
        metavar="FILE.yaml",
        help="file of settings, named like the options with _ for -; typed options take precedence",
    )


def read(args: argparse.Namespace) -> SearchParams | None:
    """Return the parameters, typed or from the file; None if their schema is requested."""
    return None if args.schema else settled(SearchParams, search_settings(args))


def search_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the search parameters of the command line, its file, or the environment."""
    values = given(args, SearchParams)
    if getattr(args, "config", None) is not None:
        values = read_search(Path(args.config).expanduser()) | values
    if "money" in values and "price" not in values:
        values |= _known_price()
    return values


def _known_price() -> dict[str, Any]:
    """Return the price that the environment names, if it names both parts."""
    asking, answering = prices()
    return {} if asking is None or answering is None else {"price": f"{asking:f},{answering:f}"}
