"""Grammar of ``autoprune stage``."""

import argparse
from typing import get_args

from flows.params import checked
from flows.search.runs import find_run, going_on
from flows.stage.params import StageName, StageParams
from flows.terminal.options import add_options, given
from tasks.state import State

DESCRIPTION = """\
Run one stage of an existing search and nothing else. Open work of the stage is
done and recorded, as `autoprune resume` does for all stages. Recorded work is
repeated and compared, and the record stays as it is.

  calibrate          collect the statistics again
  design             ask the open questions
  validate, measure  do open work, else repeat the winner; or repeat --candidate
  seal               make the final measurement
  register           save and register the winner

Exit code 0: done, same figures as on record; 1: different figures.
"""
EXAMPLE = "autoprune stage demo measure --candidate C3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run_name", metavar="RUN", help="name of the search")
    parser.add_argument("stage", choices=get_args(StageName), help="stage to run")
    add_options(parser, StageParams, words=("run", "stage"))


def read(args: argparse.Namespace) -> StageParams:
    """The parameters that were typed; the search and its device exist."""
    state = State.at()
    going_on(state, find_run(state, args.run_name), args.device)
    return checked(StageParams, given(args, StageParams) | {"run": args.run_name})
