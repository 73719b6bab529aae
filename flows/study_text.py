"""A study as text for people: one line per figure, every empty cell with its reason."""

import textwrap
from collections.abc import Mapping
from typing import Any

from flows.evaluation_text import WIDTH, figure_text, protocol_text
from flows.output import pairs


def study_text(record: Mapping[str, Any]) -> str:
    """The cells by model, then the protocols, then the counts."""
    lines: list[str] = []
    protocols: dict[str, None] = {}
    model = None
    for cell in record["cells"]:
        if cell["model"] != model:
            model = cell["model"]
            lines += [model, f"  {'scheme':<24}{'zeros':>6}  {'calibration':<15}figure"]
        where = f"  {cell['scheme']:<24}{cell['ratio']:>6.0%}  {cell['policy']:<15}"
        for row in cell["rows"]:
            name = f"{row['suite']} {row['name']} {row['metric']}"
            shown = row["reason"] if row["metric"] == "-" else figure_text(row)
            label = f"{row['suite']} unavailable" if row["metric"] == "-" else name
            lines += textwrap.wrap(
                f"{where}{label}: {shown}", WIDTH, subsequent_indent=" " * 8,
                drop_whitespace=True, replace_whitespace=False, break_on_hyphens=False,
            )  # fmt: skip
            if row["status"] == "ok":
                protocols.setdefault(protocol_text(row))
    lines.append("protocols")
    for text in protocols:
        lines += textwrap.wrap(
            text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    for split in record["splits"]:
        where = f"{split['text']}: part {split['part']}, seed {split['seed']}"
        lines.append(f"  {where}, split {split['digest'][:12]}…")
    for text, times in record["sealed_touches"].items():
        said = f"the text {text[:12]}…, sealed as a whole or in part, was measured on {times} times"
        lines.append(f"note  {said} so far")
    for note in record["notes"]:
        lines += textwrap.wrap(f"note  {note}", WIDTH, subsequent_indent="    ")
    counts = (
        f"{record['cells_total']} cells: {record['results']} with results "
        f"({record['cached']} kept from before), {record['unavailable']} unavailable"
    )
    return (
        "\n".join(lines)
        + "\n"
        + pairs(
            ("study", counts),
            ("saved", f"{record['folder']}/results.parquet"),
            ("next", "the same command again fills only what is still empty"),
        )
    )
