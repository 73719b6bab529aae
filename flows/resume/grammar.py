"""Grammar of ``autoprune resume``."""

import argparse

from autoprune.errors import UsageError
from flows.params import checked
from flows.resume.params import ResumeParams
from flows.search.runs import find_run, going_on
from flows.terminal.options import add_options, given
from tasks.state import State

DESCRIPTION = """\
Continue a search from its own record, with the settings it was started with, on
the same kind of device. Finished work is not repeated. If the process of a run
was killed but Prefect still shows it as running, the run is first marked as
crashed. With --submit, the worker of `autoprune up` continues that same run, as
the Retry button of the UI does. A night needs it: without, its search alone
continues, and the gate is not asked.

With --until, it stops once that stage is done: calibrate, design, validate,
measure or seal. The next `autoprune resume` goes on from there.
"""
EXAMPLE = "autoprune resume demo --until measure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, ResumeParams)
    parser.add_argument(
        "--submit", action="store_true", help="continue in the worker instead of in this command"
    )


def read(args: argparse.Namespace) -> ResumeParams:
    """Return the search that is meant; it exists, and so does its device."""
    typed = given(args, ResumeParams)
    if args.submit and (args.device is not None or "until" in typed):
        raise UsageError(
            "with --submit, the worker keeps the settings that the run was started with; leave out "
            "--submit, or --device and --until"
        )
    state = State.at()
    run_id = find_run(state, typed.get("run"))
    going_on(state, run_id, args.device)
    return checked(ResumeParams, typed | {"run": run_id})
