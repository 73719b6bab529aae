"""Grammar of ``autoprune stage``."""

import argparse
from typing import get_args

from flows.params import StageParams, checked
from flows.params.named import check_device
from flows.params.stages import StageName
from flows.runs import find_run
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
    parser.add_argument(
        "--candidate", metavar="NAME", help="validate or measure this candidate again, such as C3"
    )
    parser.add_argument(
        "--look-again",
        action="store_true",
        help="with seal: look at the sealed text again and compare; the ledger counts the look",
    )


def read(args: argparse.Namespace) -> StageParams:
    """The parameters that were typed; the search exists."""
    find_run(State.at(), args.run_name)
    check_device()
    fields = {"run": args.run_name, "stage": args.stage, "candidate": args.candidate}
    return checked(StageParams, fields | {"look_again": args.look_again})
