"""Results of a command on stdout: one JSON object, or text for people."""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from autoprune.plain_text import in_json, printable

# Texts for people are broken here, as in `--help`.
COLUMNS = 100


def emit(
    args: argparse.Namespace, record: Mapping[str, Any], text: str, *, coloured: bool = False
) -> None:
    """Print ``record`` with ``--json``, else ``text``."""
    if args.json:
        print(in_json(json.dumps(plain(record), ensure_ascii=False, indent=2)))
    else:
        print(text if coloured else printable(text))


def tell(text: str, *, end: str = "\n") -> None:
    """Print ``text`` on stderr, since stdout is for the result."""
    print(printable(text), end=end, file=sys.stderr, flush=True)


def plain(value: Any) -> Any:
    """Return the value with infinities and NaN as strings, which strict JSON readers accept."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def wrapped(*rows: tuple[str, str]) -> str:
    """Format ``name  text`` lines like :func:`pairs`, with long texts broken between words."""
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, text in rows:
        broken = wrap(
            printable(text), COLUMNS - width - 2, break_long_words=False, break_on_hyphens=False
        )
        lines.append(f"{name:<{width}}  {broken[0] if broken else ''}")
        lines += [f"{'':<{width}}  {line}" for line in broken[1:]]
    return "\n".join(lines)


def pairs(*rows: tuple[str, Any]) -> str:
    """Format aligned ``name  value`` lines; a value of several lines becomes one."""
    width = max(len(name) for name, _ in rows)
    # Spaces stay as they are: a value may be a path or a command.
    lines = (" ".join(printable(str(value)).splitlines()) for _, value in rows)
    names = (name for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {line}" for name, line in zip(names, lines, strict=True))
