"""``autoprune validate``: what the sandbox says about a metric in a file."""

import argparse
from typing import Any

from autoprune.plain_text import shell_line
from flows.terminal.console import open_screen
from flows.terminal.output import emit, pairs
from tasks.in_use import reading_caches
from tasks.state import State
from tasks.validate import validate_file

HOLDS = {
    "metric": "shape, dtype, finite, distinct, inputs, deterministic, independent, order, scale",
    "program": "shape, dtype, finite, budget by row, matrix and 2:4, inputs, deterministic, scale",
}


def run(args: argparse.Namespace, statistics: list[str] | None) -> int:
    """Ask the sandbox and print its verdict."""
    state = State.open()
    with open_screen(quiet=args.quiet), reading_caches(state):
        record = validate_file(state, args.file, statistics)
    emit(args, record, pairs(*(_accepted(record) if record["ok"] else _rejected(record))))
    return 0 if record["ok"] else 3


def _accepted(record: dict[str, Any]) -> list[tuple[str, Any]]:
    more = ", ".join(record["beyond_a_search"])
    file = (f"--{record['kind']}", record["file"])
    prune = shell_line("prune", "MODEL", *file, "--out", "pruned")
    return [
        ("accepted", record["file"]),
        ("holds", HOLDS[record["kind"]]),
        ("with", f"{record.get('given', 'W')}, {', '.join(record['statistics'])}"),
        ("time", f"{record['seconds']:.2f} s"),
        ("next", f"do without {more}: searches and prune collect it for formulas only")
        if more
        else ("next", prune),
    ]


def _rejected(record: dict[str, Any]) -> list[tuple[str, Any]]:
    rows = [("rejected", record["file"]), ("property", f"{record['property']} ({record['code']})")]
    if record["line"]:
        rows.append((f"line {record['line']}", record["text"]))
    rows += [("expected", record["expected"]), ("got", record["got"])]
    if record["remedy"]:
        rows.append(("do", record["remedy"]))
    if record["printed"]:
        rows.append(("printed", record["printed"][-400:]))
    rows.append(("next", f"change the file, then: {shell_line('validate', record['file'])}"))
    return rows
