"""Grammar of ``autoprune promote``."""

import argparse

from autoprune.errors import UsageError
from flows.promote.params import PromoteParams
from flows.terminal.option_types import whole_number
from flows.terminal.options import add_options, given, settled
from tasks.state import State

DESCRIPTION = """\
Measure champion and challenger on the same windows in the same run, recount the
challenger's zeros, and open it as a user would. The alias 'champion' in the
MLflow registry moves only if the gate passes, and the previous champion becomes
'previous'. The reason is written on the version either way. The exit code is 3
if the gate refuses.
"""
EXAMPLE = "autoprune promote --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, PromoteParams)
    parser.add_argument("--seed", type=whole_number, help=argparse.SUPPRESS)
    parser.add_argument(
        "--yes", action="store_true", help="do not ask on a terminal before moving the alias"
    )


def read(args: argparse.Namespace) -> PromoteParams:
    """The parameters that were typed; every name in them exists."""
    if args.seed is not None:
        raise UsageError(
            f"--seed {args.seed}: a promotion draws nothing at random; the split of its text is "
            f"--text-split {args.seed} (default: that of the search that made the challenger)"
        )
    params = settled(PromoteParams, given(args, PromoteParams))
    state = State.at()
    if params.folder is None and not state.has_store:
        raise UsageError(
            f"no model of AutoPrune is registered in {state.tracking_place}; a search registers "
            "its winner; run `autoprune search` first, or name a folder with --folder"
        )
    return params
