"""Results of a command on stdout: one JSON object, or text for people."""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from autoprune.plain_text import in_json, printable


def emit(
    args: argparse.Namespace, record: Mapping[str, Any], text: str, *, coloured: bool = False
) -> None:
    """Print ``record`` with ``--json``, else ``text``.

    Args:
        args: The command's arguments.
        record: The result.
        text: The same for people; text by others in it may contain escape sequences.
        coloured: Its escape sequences are ours, and it contains no others.
    """
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


def pairs(*rows: tuple[str, Any]) -> str:
    """Format aligned ``name  value`` lines; a value of several lines becomes one."""
    width = max(len(name) for name, _ in rows)
    # Spaces stay as they are: a value may be a path or a command.
    lines = (" ".join(printable(str(value)).splitlines()) for _, value in rows)
    names = (name for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {line}" for name, line in zip(names, lines, strict=True))
