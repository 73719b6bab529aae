"""Compare one evaluation with another, figure by figure, only under one protocol."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import UsageError
from autoprune.evaluation.suites.comparison import (
    ProtocolMismatchError,
    compare_rows,
    compare_runs,
    require_same_protocol,
)
from autoprune.evaluation.suites.rows import RUNS, Row

if TYPE_CHECKING:
    from autoprune.evaluation.suites.rows import RowKey

_SLOPES = "the ratio of two slopes says nothing, and they have no items to pair"
_ALL_ITEMS = "a figure of all items together; there are none to pair"


def compare(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the rows with those of another model, pair by pair where there are pairs."""
    known: dict[RowKey, list[Row]] = {}
    for row in map(Row.from_json, others):
        known.setdefault(row.key, []).append(row)
    found = []
    for row in map(Row.from_json, rows):
        same = known.get(row.key, [])
        alike = [entry for entry in same if entry.protocol == row.protocol]
        found += [_compared(entry, row) for entry in (alike or same)[:1]]
    return found


def read_record(path: str) -> list[dict[str, Any]]:
    """The rows of an earlier run's ``--json`` record."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f"{path} does not exist; name a model or the .json record of a run")
    try:
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
        return [{**row, "protocol": dict(row["protocol"])} for row in rows]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not a record of an evaluation ({type(error).__name__}: {error}); make one "
            "with `autoprune evaluate MODEL --json > FILE.json`"
        ) from error


def _compared(other: Row, row: Row) -> dict[str, Any]:
    suite, name, metric, chosen = row.key
    found: dict[str, Any] = {
        "suite": suite, "name": name, "metric": metric, "filter": chosen, "value": row.value,
        "other": other.value, "paired": None, "runs": None, "reason": "", "refused": "",
    }  # fmt: skip
    # A row without a figure lacks what its measurement would have added to the protocol.
    lacking = next((entry for entry in (row, other) if entry.status != "ok"), None)
    if lacking is not None:
        return found | {"reason": f"{lacking.status.replace('_', ' ')}: {lacking.reason}"}
    try:
        require_same_protocol(other, row)
    except ProtocolMismatchError as error:
        return found | {"other": None, "refused": str(error)}
    if row.details.get(RUNS):
        return found | {"runs": compare_runs(other, row).to_json()}
    if row.items and len(row.items) == len(other.items):
        return found | {"paired": compare_rows(other, row).to_json()}
    if metric.endswith("_per_year"):
        return found | {"reason": _SLOPES}
    return found | {"reason": _ALL_ITEMS if suite == "tasks" else ""}
