"""``autoprune demo``: the whole job on a small real model, in minutes."""

import argparse
from typing import Any

from autoprune.errors import AutopruneError
from flows import demo
from flows.engine import Engine
from flows.search.command import search_with
from flows.search.params import SearchParams
from tasks.run_files import RunFiles


def run(args: argparse.Namespace, params: SearchParams) -> int:
    """Search with the demo's settings, then make the second model."""
    return search_with(args, params, _second)


def _second(engine: Engine, params: SearchParams, record: dict[str, Any]) -> str:
    """Make a smaller model beside the search's winner; if that fails, the search still stands."""
    folder = RunFiles.of(engine.state, record["run"]).folder / "smaller"
    try:
        made = engine.call(demo.second_model, params, str(folder))
    except AutopruneError as error:
        return f"\n no second model: {error}"
    record["second"] = made
    return f"\n\n{demo.second_text(made, folder)}"
