"""The comparison's table on a terminal."""

import io
from typing import Any

from rich.console import Console
from rich.table import Table

WIDEST = 400


def rendered(record: dict[str, Any]) -> str:
    """Overview, recommendation, what is missing, and where the files lie, as text.

    Args:
        record: JSON form of the comparison, as the flow returns it.
    """
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
    stream = io.StringIO()
    Console(file=stream, width=WIDEST, color_system=None, highlight=False).print(table)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    against = record["baseline"]
    lines.append(
        f"in brackets: against {against}, ≈ where the paired interval holds zero; "
        "* lowest on the selection windows"
    )
    lines += ["", *(entry["text"] for entry in record["recommendation"])]
    if record["missing"]:
        lines += ["", *record["missing"]]
    lines += ["", *(f"{name:<9}  {value}" for name, value in record["protocol_lines"])]
    failed = f", {record['failed']} without a figure" if record["failed"] else ""
    counts = f"{record['measured']} measured, {record['cached']} found{failed}"
    lines.append(f"{'cells':<9}  {counts}")
    lines.append(f"{'files':<9}  {record['folder']}: {', '.join(record['files'])}")
    return "\n".join(lines)
