"""``autoprune search``: let a designer find how a model is best pruned."""

import argparse
import json
from collections.abc import Callable

from flows import search
from flows.engine import open_engine
from flows.search.leaderboard import closing_text
from flows.search.params import SearchParams
from flows.terminal.output import emit


def run(args: argparse.Namespace, params: SearchParams | None) -> int:
    """Search and print the leaderboard."""
    if params is None:
        print(json.dumps(SearchParams.model_json_schema(), indent=2))
        return 0
    return search_with(args, params)


def search_with(
    args: argparse.Namespace, params: SearchParams, then: Callable[..., str] | None = None
) -> int:
    """Run the search flow and print the result; return 3 if no design could be measured."""
    search.require_docker(params)
    with open_engine(args) as engine:
        record = engine.call(search.search, params)
        more = "" if then is None else then(engine, params, record)
    emit(args, record, closing_text(record) + more, coloured=True)
    return 0 if record["passed"] else 3
