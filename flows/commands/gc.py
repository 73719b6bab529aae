"""``autoprune gc``: free room without losing anything."""

import argparse

from flows.terminal.output import emit

NAME = "gc"
HELP = "free room: copies of winners and, if asked, caches"
DESCRIPTION = (
    "Let a winner and its copy in MLflow's folder be one file on disk. With --caches also delete "
    "what is made again when it is needed: windows, statistics and the sandbox's layer files. "
    "Searches are deleted by `autoprune rm`."
)
EXAMPLE = "autoprune gc --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--caches", action="store_true", help="also what can be made again")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be freed")


def run(args: argparse.Namespace) -> int:
    """Free the room and say of what."""
    from autoprune.report.benefit import megabytes
    from flows.housekeeping import collect, garbage
    from tasks.state import State

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
