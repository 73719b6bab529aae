"""``autoprune instruct``: training sets and dated test sets out of raw threads."""

import argparse
import shlex
from typing import Any

from autoprune.plain_text import shell_line
from flows.instruct.instructing import instruct, target
from flows.instruct.params import InstructParams
from flows.terminal.console import open_screen
from flows.terminal.output import emit, pairs
from tasks.in_use import reading_caches
from tasks.state import State


def run(args: argparse.Namespace, params: InstructParams) -> int:
    """Make the set and print what became of the threads."""
    state = State.open()
    with open_screen(quiet=args.quiet), reading_caches(state):
        record = instruct(params, state)
    emit(args, record, pairs(*_lines(params, record, state)))
    return 0


def _lines(params: InstructParams, record: dict[str, Any], state: State) -> list[tuple[str, Any]]:
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
    out = target(params, state)
    if params.builds:
        aligned = f"aligned={record['file']}"
        follow = shell_line("compare", "MODEL", "--calibration-text", aligned)
    elif out != state.live:
        follow += f" --live-file {shlex.quote(str(out))}"
    return [*lines, ("next", follow)]
