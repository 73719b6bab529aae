"""Grammar of ``autoprune stage``."""

import argparse
from typing import get_args

from flows.params import StageParams, checked
from flows.params.stages import StageName

DESCRIPTION = (
    "Do one stage of a search that is there and nothing else. What is open of the stage is done "
    "and put on record, as `autoprune resume` does for all stages; what is on record is made again "
    "and compared, and the record stays as it is. calibrate collects the statistics again; design "
    "asks the open questions; validate and measure do what is open, else the winner or "
    "--candidate again; seal makes the final measurement; register saves and registers the winner. "
    "Exit code 0: done, and the same as on record; 1: other figures than on record."
)
EXAMPLE = "autoprune stage demo measure --candidate C3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run_name", metavar="RUN", help="name of the search")
    parser.add_argument("stage", choices=get_args(StageName), help="which stage")
    parser.add_argument(
        "--candidate", metavar="NAME", help="validate or measure this one again, such as C3"
    )
    parser.add_argument(
        "--look-again",
        action="store_true",
        help="seal: look at the sealed text once more and compare; the ledger counts the look",
    )


def read(args: argparse.Namespace) -> StageParams:
    """The parameters that were typed."""
    fields = {"run": args.run_name, "stage": args.stage, "candidate": args.candidate}
    return checked(StageParams, fields | {"look_again": args.look_again})
