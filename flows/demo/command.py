"""``autoprune demo``: the whole job on a small real model, in minutes."""

import argparse
from typing import Any

from autoprune.errors import reason_of
from flows import demo
from flows.engine import Engine
from flows.search.command import search_with
from flows.search.params import SearchParams
from tasks.run_files import RunFiles

LONGEST_REASON = 300


def run(args: argparse.Namespace, params: SearchParams) -> int:
    """Search with the demo's settings, then make the second model."""
    return search_with(args, params, _second)


def _second(engine: Engine, params: SearchParams, record: dict[str, Any]) -> str:
    """Make a smaller model in addition to the winner; if that fails, the search still stands."""
    folder = RunFiles.of(engine.state, record["run"]).smaller
    try:
        made = engine.call(demo.second_model, params, str(folder))
    except Exception as error:
        # Such as too little memory for two models.
        record["second_failed"] = reason_of(error, LONGEST_REASON)
        return f"\n no second model: {record['second_failed']}"
    record["second"] = made
    return f"\n\n{demo.second_text(made, folder)}"
