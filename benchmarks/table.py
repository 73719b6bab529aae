"""A benchmark's result: a Markdown table with what it was measured on, and the same as JSON."""

import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from autoprune.numerics import environment, processor
from benchmarks.measured import OUT, commit


@dataclass(frozen=True)
class Goal:
    """A figure and the bound, an upper one, that it has to keep."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the bound holds."""
        return self.value <= self.limit


def publish(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    goals: Sequence[Goal] = (),
    *,
    versions: Mapping[str, str] | None = None,
    **details: Any,
) -> None:
    """Print a result as Markdown; write it to ``benchmarks/out/NAME.md`` and ``NAME.json``."""
    command = f"python -m benchmarks {name} {shlex.join(sys.argv[1:])}".strip()
    where = {
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "command": command,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "transformers")},
            **(versions or {}),
        },
    }
    text = _markdown(title, where, rows, goals)
    print(f"\n{text}", end="")
    record = {
        **where,
        "title": title,
        "rows": list(rows),
        "goals": [{**vars(goal), "met": goal.met} for goal in goals],
        **details,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (OUT / f"{name}.md").write_text(text, encoding="utf-8")


def machine() -> str:
    """Processor, cores and memory in words."""
    here = environment()
    return f"{processor()}, {here['cpu'].partition(', ')[0]}, {here['memory']}"


def _markdown(
    title: str, where: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], goals: Sequence[Goal]
) -> str:
    versions = ", ".join(f"{package} {number}" for package, number in where["versions"].items())
    lines = [
        f"**{title}**",
        "",
        f"{where['machine']}; {where['date']}; commit {where['commit']}; {versions}; "
        f"`{where['command']}`",
        "",
        *_layout(rows),
    ]
    if goals:
        lines += ["", *(f"- {_verdict(goal)}" for goal in goals)]
    return "\n".join(lines) + "\n"


def _verdict(goal: Goal) -> str:
    verdict = "met" if goal.met else "**missed**"
    return f"{goal.what}: {goal.value:.4g}, at most {goal.limit:g}: {verdict}"


def _layout(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(names))]
    lines = []
    for line in cells:
        first, *rest = zip(line, widths, strict=True)
        right = "".join(f" {text:>{width}} |" for text, width in rest)
        lines.append(f"| {first[0]:<{first[1]}} |{right}")
    rule = "".join(f" {'-' * (width - 1)}: |" for width in widths[1:])
    return [lines[0], f"| {'-' * widths[0]} |{rule}", *lines[1:]]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|")
