"""The end of a search on the terminal: the table, the report's path, and the next command."""

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.plain_text import one_line, printable
from autoprune.report.leaderboard import LeaderboardRow, leaderboard_from_json

LONGEST_FORMULA = 44
ROWS = 20
# Terminals narrower than this have no column for the formula.
NARROW = 108


def closing_text(record: Mapping[str, Any]) -> str:
    """Leaderboard, report and next command as text."""
    head = printable(_headline(record))
    lines = [f" {printable(line)}" for line in outcome_lines(record)]
    reference = record.get("reference", "Wanda")
    rows = leaderboard_from_json(record["leaderboard"])
    return "\n".join([head, "", table(rows, reference), *lines])


def outcome_lines(record: Mapping[str, Any]) -> list[str]:
    """Format the outcome, its paths and the next command, without the leaderboard."""
    lines = [*record["facts"], *record["notes"], f"report  {record['report']}"]
    if record["registered"]:
        lines.append(f"model   {record['registered']['uri']}  (in {record['tracking_uri']})")
    if record["checkpoint"]:
        lines.append(f"saved   {record['checkpoint']}")
    return [*lines, f"next    {record['next']}"]


def table(rows: Sequence[LeaderboardRow], reference: str = "Wanda") -> str:
    """Format the leaderboard as a table; wide terminals get the whole formula.

    Narrow ones get it below the candidate, and no sparsities: the headline has the target.
    """
    from rich.console import Console
    from rich.table import Table

    width = max(80, shutil.get_terminal_size((110, 24)).columns)
    narrow = width < NARROW
    shown = Table(box=None, pad_edge=True, header_style="bold")
    shown.add_column("#", justify="right")
    shown.add_column("candidate", no_wrap=not narrow, overflow="fold")
    if not narrow:
        shown.add_column("formula", overflow="fold", max_width=max(LONGEST_FORMULA, width - 84))
    shown.add_column("perplexity", justify="right", no_wrap=True)
    shown.add_column(f"vs {reference}", justify="right", no_wrap=True)
    shown.add_column("sealed", justify="right", no_wrap=True)
    if not narrow:
        shown.add_column("sparsity", justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for row in rows[:ROWS]:
        shown.add_row(*_cells(row, narrow))
    stream = io.StringIO()
    plain = "NO_COLOR" in os.environ or not os.isatty(1)
    Console(file=stream, width=width, force_terminal=not plain, no_color=plain).print(shown)
    left_out = len(rows) - ROWS
    more = f" … and {left_out} more in the report\n" if left_out > 0 else ""
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n" + more


def _cells(row: LeaderboardRow, narrow: bool) -> tuple[str, ...]:
    from rich.markup import escape

    change, sparsity = row.change_vs_wanda, row.sparsity
    name, recipe = (escape(one_line(text)) for text in (row.candidate, _recipe(row)))
    return (
        str(row.rank or ""),
        *((f"{name}\n{recipe}".rstrip(),) if narrow else (name, recipe)),
        _figure(row.perplexity),
        "–" if change is None else _change(change),
        "failed" if row.sealed_failure else _figure(row.sealed_perplexity),
        *(() if narrow else ("–" if sparsity is None else f"{sparsity:.2%}",)),
        escape(one_line(row.verdict_text)),
    )


def _recipe(row: LeaderboardRow) -> str:
    """The formula and all settings that are not the default; recipes may share a formula."""
    parts = [_clipped(row.formula)]
    parts += [row.allocation] if row.allocation not in ("", "uniform") else []
    parts += [f"by {row.group}"] if row.group not in ("", "row") else []
    parts += [row.solver] if row.solver not in ("", "none") else []
    return " · ".join(parts)


def _headline(record: Mapping[str, Any]) -> str:
    dense = _figure(record["dense_perplexity"])
    target = record.get("goal") or f"{record['sparsity']:.1%}"
    return f" {record['model']}   target {target}   dense perplexity {dense}   run {record['run']}"


def _figure(value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.2f}" if value < 1e5 else f"{value:.3g}"


def _change(value: float) -> str:
    """Format a change as ``-34.3%``, or as a factor if far above the reference: ``x 30.5``."""
    return f"{value:+.1%}" if value < 10 else f"x {1 + value:.3g}"


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:119] + "…"
