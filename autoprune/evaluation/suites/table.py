"""Rows as a table: one Parquet file that any tool reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from autoprune.evaluation.suites.rows import Row
from autoprune.storage import atomic_file

_TEXT = pyarrow.string()
_COLUMNS = [
    ("suite", _TEXT), ("name", _TEXT), ("metric", _TEXT), ("value", pyarrow.float64()),
    ("unit", _TEXT), ("status", _TEXT), ("reason", _TEXT), ("low", pyarrow.float64()),
    ("high", pyarrow.float64()), ("items", pyarrow.list_(pyarrow.float64())),
    ("protocol", _TEXT), ("provenance", _TEXT), ("details", _TEXT),
]  # fmt: skip


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as Parquet; protocol, provenance and details as JSON text."""
    flat = [_flat(row) for row in rows]
    columns = {n: pyarrow.array([entry[n] for entry in flat], kind) for n, kind in _COLUMNS}
    with atomic_file(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary, compression="zstd")


def read_rows(path: Path) -> list[Row]:
    """Inverse of :func:`write_rows`."""
    return [_row(entry) for entry in pyarrow.parquet.read_table(path).to_pylist()]


def _flat(row: Row) -> dict[str, Any]:
    value = row.to_json()
    low, high = row.interval or (None, None)
    texts = {key: json.dumps(value[key], ensure_ascii=False) for key in _MAPPINGS}
    return {**value, **texts, "low": low, "high": high, "items": list(row.items)}


def _row(entry: dict[str, Any]) -> Row:
    low, high = entry.pop("low"), entry.pop("high")
    mappings = {key: json.loads(entry[key]) for key in _MAPPINGS}
    return Row.from_json({**entry, **mappings, "interval": None if low is None else (low, high)})


_MAPPINGS = ("protocol", "provenance", "details")
