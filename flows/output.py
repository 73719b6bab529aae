"""How results leave a command: one JSON object, or text for people, on stdout."""

import argparse
import json
import math
from collections.abc import Mapping
from typing import Any


def emit(args: argparse.Namespace, record: Mapping[str, Any], text: str) -> None:
    """Print ``record`` with ``--json``, else ``text``."""
    print(json.dumps(plain(record), ensure_ascii=False, indent=2) if args.json else text)


def plain(value: Any) -> Any:
    """The value with infinities and NaN as strings, which strict JSON readers accept."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def pairs(*rows: tuple[str, Any]) -> str:
    """Aligned ``name  value`` lines."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
