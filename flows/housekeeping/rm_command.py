"""``autoprune rm``: delete searches of this folder, or caches."""

import argparse
import sys

from autoprune.errors import UsageError
from autoprune.report.benefit import megabytes
from flows.housekeeping.disk import collect, garbage, remove_runs
from flows.terminal.output import emit, tell
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Delete and say what is gone."""
    if not (args.runs or args.caches):
        raise UsageError("name the searches to delete (`autoprune ls runs`), or add --caches")
    if not (args.yes or args.json) and sys.stdin.isatty() and sys.stderr.isatty():
        tell(
            f"delete {', '.join([*args.runs, *(['caches'] if args.caches else [])])}? [y/N] ",
            end="",
        )
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            emit(args, {"removed": [], "freed": []}, "nothing was deleted")
            return 0
    state = State.at()
    gone = remove_runs(state, args.runs)
    found = garbage(state) if args.caches else []
    freed = collect(found)
    lines = [f"deleted {each['run']} ({megabytes(each['bytes'])})" for each in gone]
    lines += [f"freed {megabytes(room.bytes)}: {room.what}" for room in found]
    record = {
        "removed": gone,
        "freed": [{"what": room.what, "bytes": room.bytes} for room in found],
        "bytes": freed,
    }
    emit(args, record, "\n".join([*lines, "next  autoprune ls runs"]))
    return 0
