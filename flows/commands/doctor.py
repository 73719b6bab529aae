"""``autoprune doctor``: is everything there that a run needs?"""

import argparse

from flows.terminal.output import emit

NAME = "doctor"
HELP = "check everything that a run needs, with the fix for each fault"
DESCRIPTION = (
    "Check versions, Docker, the sandbox image, designer, demo model and text, stores and disk. "
    "Exit code 4 when something is missing."
)
EXAMPLE = "autoprune doctor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--ask",
        action="store_true",
        help="start the local designer and see what it enforces, if no search has yet",
    )


def run(args: argparse.Namespace) -> int:
    """Run every check and print the list."""
    from flows.checks import all_checks, check_rows
    from tasks.state import State

    state = State.open()
    checks = all_checks(state, ask=args.ask)
    ok = all(check.ok for check in checks)
    record = {
        "ok": ok,
        "checks": [
            {"name": check.name, "ok": check.ok, "detail": check.detail, "fix": check.fix}
            for check in checks
        ],
    }
    begun = bool(state.run_ids())
    follow = "autoprune search MODEL" if begun else "autoprune demo"
    emit(args, record, check_rows(checks, follow))
    return 0 if ok else 4
