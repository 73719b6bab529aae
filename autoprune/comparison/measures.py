"""Figures beside the perplexity: what suites measured on each pruned model, and its bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from autoprune.comparison.measured import Measured, Record, deviation, mean
from autoprune.evaluation.contrasts import Contrast, contrast, holm

# A suite's figure over all its parts, which stands for them.
WHOLE = "all"
# The same figure in another unit.
_REPEATED = ("bits_per_byte",)
_SHORT = {("lm", "kl_to_dense"): "KL to dense"}


@dataclass(frozen=True)
class Measure:
    """One figure of a method at a budget beside its perplexity.

    Args:
        column: What it is, the same for all methods.
        value: Mean over draws.
        deviation: Sample standard deviation over draws; None for one draw.
        difference: Mean difference to the baseline over items and draws; None where there is none.
        interval: 95 % interval of the difference.
        p_adjusted: Its p after Holm's correction over the methods at this budget.
        items: Items, such as questions or windows, that the value is over.
        reason: Why there is no value.
    """

    column: str
    value: float | None = None
    deviation: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_adjusted: float | None = None
    items: int = 0
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)


def columns_of(records: Sequence[Record]) -> list[str]:
    """All columns that the suites of some records have, in the order met."""
    return list(dict.fromkeys(name for record in records for name in _figures(record)))


def measures_of(
    column: str, measured: Sequence[Measured], baseline: Measured | Record | None
) -> list[Measure]:
    """One column at one budget.

    Args:
        column: Its name.
        measured: Cells by method; one without a perplexity has no other figure either.
        baseline: Cells of the method compared with, or the record of the dense model.
    """
    made: list[Measure] = []
    found: list[Contrast | None] = []
    for entry in measured:
        rows = [_figures(record).get(column) for record in entry.records]
        values = [row["value"] for row in rows if row is not None and row["value"] is not None]
        if not entry.complete or len(values) < len(rows):
            reasons = [row["reason"] for row in rows if row is not None and row["value"] is None]
            made.append(Measure(column, reason=next(filter(None, reasons), None)))
            found.append(None)
            continue
        items = len(rows[0]["items"]) if rows[0] else 0
        made.append(Measure(column, mean(values), deviation(values), items=items))
        found.append(_paired(column, entry, baseline))
    adjusted = iter(holm([one.p for one in found if one is not None]))
    return [
        entry
        if one is None
        else replace(entry, difference=one.mean, interval=one.interval(), p_adjusted=next(adjusted))
        for entry, one in zip(made, found, strict=True)
    ]


def _paired(column: str, entry: Measured, baseline: Measured | Record | None) -> Contrast | None:
    if baseline is None or (isinstance(baseline, Measured) and baseline.method == entry.method):
        return None
    if isinstance(baseline, Measured):
        common = set(entry.seeds) & set(baseline.seeds)
        own, other = (
            [_items(record, column) for record in one.over(common).records]
            for one in (entry, baseline)
        )
    else:
        own = [_items(record, column) for record in entry.records]
        other = [_items(baseline, column)]
    sizes = {len(items) for items in (*own, *other)}
    if not own or not other or len(sizes) > 1 or 0 in sizes:
        return None
    return contrast(np.array(own, np.float64).T - np.array(other, np.float64).T)


def _items(record: Record, column: str) -> Sequence[float]:
    row = _figures(record).get(column)
    items: Sequence[float] = () if row is None else row["items"]
    return items


def _figures(record: Record) -> dict[str, Mapping[str, Any]]:
    """Rows by column."""
    made: dict[str, Mapping[str, Any]] = {}
    for suite, found in record.get("suites", {}).items():
        rows = [row for row in found.get("rows", ()) if row["metric"] not in _REPEATED]
        whole = [row for row in rows if row["name"] == WHOLE]
        rows = whole or rows
        for row in rows:
            alone = sum(row["metric"] == other["metric"] for other in rows) == 1
            words = [suite if alone else row["name"], row["metric"].replace("_", " ")]
            usual = " ".join(dict.fromkeys(words))
            made[_SHORT.get((suite, row["metric"]), usual) if alone else usual] = row
    return made


def failed_suites(records: Sequence[Record]) -> dict[str, str]:
    """Suites that gave no figure at all, and why."""
    return {
        suite: found["reason"]
        for record in records
        for suite, found in record.get("suites", {}).items()
        if "reason" in found
    }
