"""The comparison's table on a terminal."""

import io
from typing import Any

from rich.console import Console
from rich.table import Table

WIDEST = 400


def rendered(record: dict[str, Any]) -> str:
    """Format the overview, the recommendation, what is missing, and the paths of the files."""
    overview: list[list[str]] = record["overview"]
    best = {entry["target"]: entry["method"] for entry in record["recommendation"]}
    targets = list(best)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sealed perplexity", no_wrap=True)
    for target in targets:
        table.add_column(target, justify="right", no_wrap=True)
    for name, *cells in overview:
        marked = [
            f"{cell} *" if best[target] == name else f"{cell}  "
            for cell, target in zip(cells, targets, strict=True)
        ]
        table.add_row(name, *marked)
    lines = _lines(table)
    against = record["baseline"]
    lines.append(
        f"in brackets: against {against}, ≈ where the corrected p shows none; "
        "* lowest on the selection windows"
    )
    has_suites = record["dense_measures"] or any(row["measures"] for row in record["rows"])
    if len(record["baselines"]) > 1 or has_suites:
        for target, (head, rows) in record["details"].items():
            lines += ["", *_budget(target, head, rows)]
    lines += ["", *(entry["text"] for entry in record["recommendation"])]
    if record["missing"]:
        lines += ["", *record["missing"]]
    lines += ["", *(f"{name:<9}  {value}" for name, value in record["protocol_lines"])]
    if "measured" in record:
        failed = f", {record['failed']} without a figure" if record["failed"] else ""
        counts = f"{record['measured']} measured, {record['cached']} found{failed}"
        lines.append(f"{'cells':<9}  {counts}")
    if record.get("folder"):
        lines.append(f"{'files':<9}  {record['folder']}: {', '.join(record['files'])}")
    if record.get("record"):
        lines.append(f"{'record':<9}  {record['record']}")
    return "\n".join(lines)


def _budget(target: str, head: list[str], rows: list[list[str]]) -> list[str]:
    """All figures of one budget."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate([f"at {target}", *head[1:]]):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return _lines(table)


def _lines(table: Table) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=WIDEST, color_system=None, highlight=False).print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]
