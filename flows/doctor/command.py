"""``autoprune doctor``: is everything there that a run needs?"""

import argparse

from flows.doctor.checks import all_checks, check_rows
from flows.terminal.output import emit
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Run every check and print the list."""
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
