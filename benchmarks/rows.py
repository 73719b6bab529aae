"""Rows of suites in the tables and records of benchmarks."""

from collections.abc import Mapping
from typing import Any

from autoprune.evaluation.suites.rows import Row


def row_text(row: Row, scale: float, unit: str = "") -> str:
    """Value and interval, times ``scale``; why there is none otherwise."""
    if row.value is None:
        return row.status
    low, high = row.interval or (row.value, row.value)
    return f"{scale * row.value:.1f}{unit} [{scale * low:.1f}, {scale * high:.1f}]"


def counted(rows: Mapping[str, Row], scale: float = 1.0) -> dict[str, Any]:
    """Value and interval of each row, times ``scale``, and its items as they are."""
    return {
        name: {
            "value": None if row.value is None else scale * row.value,
            "interval": None if row.interval is None else [scale * end for end in row.interval],
            "items": list(row.items),
        }
        for name, row in rows.items()
    }
