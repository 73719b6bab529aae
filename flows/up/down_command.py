"""``autoprune down``: stop what ``autoprune up`` started."""

import argparse
import sys

from flows.platform import processes
from flows.terminal.output import emit
from flows.up.launch import bring_down
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Stop everything and name it."""

    def say(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    state = State.at()
    # Without its folder nothing was started, and looking would create it.
    stopped = bring_down(state, say) if processes.folder(state).exists() else []
    text = f"stopped {', '.join(stopped)}" if stopped else "nothing of this folder was running"
    emit(args, {"stopped": stopped}, f"{text}\nnext  autoprune up")
    return 0
