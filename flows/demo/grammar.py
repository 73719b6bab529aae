"""Grammar of ``autoprune demo``."""

import argparse

from flows.search.grammar import add_search_options, search_settings
from flows.search.params import SearchParams
from flows.terminal.options import settled

DESCRIPTION = """\
Run the main workflow in about ten minutes on 2 cores. SmolLM2-135M is
calibrated on the Wikipedia sample, a designer writes metrics, and the sandbox
validates them. The model is pruned with the best metric, measured, registered
and reported, on 8 sealed windows instead of the usual 100.

The last minute makes a second model, for use: a fifth of the blocks is removed
and the dense model teaches the rest. Both are measured and quoted side by side.

Needs Docker and the demo's packages (`make install`), no model hub and no key.
Every option of `autoprune search` works here too.
"""
EXAMPLE = "autoprune demo"
# The search is sized for 8 minutes on 2 cores, the second model for one more; all else is as in
# every search. A hundred sealed windows would take all of that time, so there are fewer, and the
# search says so.
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
    add_search_options(parser, DEFAULTS)


def read(args: argparse.Namespace) -> SearchParams:
    """Return the typed parameters on top of the demo's."""
    typed = search_settings(args)
    # The number of candidates then follows from that of evaluations.
    left_out = {"candidates"} if "evaluations" in typed else set()
    usual = {name: value for name, value in DEFAULTS.items() if name not in left_out}
    return settled(SearchParams, usual | typed)
