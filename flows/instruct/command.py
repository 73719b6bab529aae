"""``autoprune instruct``: training sets and dated test sets out of raw threads."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from autoprune.plain_text import shell_line
from flows.instruct.instructing import Job, instruct
from flows.terminal.console import open_screen
from flows.terminal.output import emit, pairs
from tasks.in_use import reading_caches
from tasks.state import State


def run(args: argparse.Namespace, models: list[str]) -> int:
    """Make the set and print what became of the threads."""
    job = _job(args, models)
    with open_screen(quiet=args.quiet), reading_caches(State.open()):
        record = instruct(job)
    emit(args, record, pairs(*_lines(job, record)))
    return 0


def _job(args: argparse.Namespace, models: list[str]) -> Job:
    out = Path(args.out).expanduser() if args.out else State.open().live
    return Job(
        args.action, Path(args.raw).expanduser(), out, args.since, args.until, args.format,
        args.overwrite, args.references, args.overlap_words or 0, args.designer, models,
        args.base_url, args.answer_tokens, args.temperature, args.seed,
    )  # fmt: skip


def _lines(job: Any, record: dict[str, Any]) -> list[tuple[str, Any]]:
    left_out = ", ".join(f"{count} {reason}" for reason, count in record["rejected"].items())
    lines = [
        ("kept", f"{record['kept']} of {record['rows']} threads"),
        ("left out", left_out or "none"),
        ("asked", f"{record['asked']} questions, {record['known']} were on record"),
        ("saved", record["file"]),
    ]
    if record["share_8_words"]:
        near = f"{record['share_8_words']} items share 8 words in a row with a reference"
        lines.insert(2, ("note", f"{near}; --overlap-words 8 leaves them out"))
    follow = "autoprune evaluate MODEL --suite live --cutoff DATE"
    if job.action == "build":
        aligned = f"aligned={record['file']}"
        follow = shell_line("compare", "MODEL", "--calibration-text", aligned)
    elif not job.usual_place:
        follow += f" --live-file {shlex.quote(str(job.out))}"
    return [*lines, ("next", follow)]
