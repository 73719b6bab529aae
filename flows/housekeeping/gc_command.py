"""``autoprune gc``: free room without losing anything."""

import argparse

from autoprune.report.benefit import megabytes
from flows.housekeeping.disk import collect, garbage
from flows.terminal.output import emit
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Free the space and report what was freed."""
    found = garbage(State.open(), caches=args.caches)
    freed = sum(room.bytes for room in found) if args.dry_run else collect(found)
    lines = [f"{megabytes(room.bytes)}  {room.what}" for room in found]
    done = "would be freed" if args.dry_run else "freed"
    record = {
        "dry_run": args.dry_run,
        "bytes": freed,
        "found": [{"what": each.what, "bytes": each.bytes} for each in found],
    }
    emit(args, record, "\n".join([*lines, f"{megabytes(freed)} {done}", "next  autoprune ls runs"]))
    return 0
