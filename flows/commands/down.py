"""``autoprune down``: stop what ``autoprune up`` started."""

import argparse
import sys

from flows.terminal.output import emit

NAME = "down"
HELP = "stop the servers and the worker that `autoprune up` started"
DESCRIPTION = (
    "Stop the servers and the worker that `autoprune up` started from this state folder, in this "
    "terminal or another. Nothing is lost: records stay, and an interrupted search goes on when "
    "it is rerun."
)
EXAMPLE = "autoprune down"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options of its own."""


def run(args: argparse.Namespace) -> int:
    """Stop everything and name it."""
    from flows.platform.launch import bring_down
    from tasks.state import State

    def say(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    stopped = bring_down(State.open(), say)
    text = f"stopped {', '.join(stopped)}" if stopped else "nothing of this folder was running"
    emit(args, {"stopped": stopped}, f"{text}\nnext  autoprune up")
    return 0
