"""Grammar of ``autoprune design``."""

import argparse

from flows.params import checked
from flows.records.design_params import DesignParams
from flows.search.runs import find_run
from flows.terminal.options import add_options, given
from tasks.state import State

DESCRIPTION = """\
render: fill the prompt templates with what a search would ask next, taken from
its record. No designer is asked and nothing changes.

You can try a folder of your own templates on any run. To search with them, use
`autoprune search --prompts FOLDER`.
"""
EXAMPLE = "autoprune design render demo --operator exploit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, DesignParams)


def read(args: argparse.Namespace) -> DesignParams:
    """The parameters that were typed; the run exists, and is the latest if none was."""
    typed = given(args, DesignParams)
    return checked(DesignParams, typed | {"run": find_run(State.at(), typed.get("run"))})
