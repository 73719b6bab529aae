"""Figures besides perplexity: what suites measured on each pruned model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from autoprune.comparison.measured import Measured, Record, deviation, mean
from autoprune.digest import digest_json
from autoprune.evaluation.contrasts import Contrast, contrast, holm
from autoprune.evaluation.suites.rows import RUNS, STRATA

# A suite's figure over all its parts, shown instead of the figures of the parts.
WHOLE = "all"
# Metrics that repeat another figure in a different unit.
_REPEATED = ("bits_per_byte",)
_SHORT = {("lm", "kl_to_dense"): "KL to dense"}


@dataclass(frozen=True)
class FurtherFigure:
    """A figure of a method at a budget other than its perplexity.

    Args:
        column: Name of the figure, the same for all methods.
        value: Mean over draws.
        deviation: Sample standard deviation over draws; None for one draw.
        difference: Mean difference from the baseline over items and draws, as a share of the
            baseline's value for a perplexity; None if there is none.
        interval: 95 % interval of the difference.
        relative: Whether the difference is a share.
        p_adjusted: Its p-value after Holm's correction over the methods at this budget.
        items: Number of items, such as questions or windows, behind the value.
        reason: Why there is no value.
    """

    column: str
    value: float | None = None
    deviation: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    relative: bool = False
    p_adjusted: float | None = None
    items: int = 0
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)


def columns_of(records: Sequence[Record]) -> list[str]:
    """Return all columns of the suites in the records, in order of appearance."""
    return list(dict.fromkeys(name for record in records for name in _figures(record)))


def measures_of(
    column: str, measured: Sequence[Measured], baseline: Measured | Record | None
) -> list[FurtherFigure]:
    """Compute one column at one budget."""
    made: list[FurtherFigure] = []
    found: list[Contrast | None] = []
    for entry in measured:
        rows = [_figures(record).get(column) for record in entry.records]
        values = [row["value"] for row in rows if row is not None and row["value"] is not None]
        if not entry.complete or len(values) < len(rows):
            reasons = [row["reason"] for row in rows if row is not None and row["value"] is None]
            made.append(FurtherFigure(column, reason=next(filter(None, reasons), None)))
            found.append(None)
            continue
        if len(protocols_of(entry.records, column)) > 1:
            made.append(FurtherFigure(column, reason="draws were measured by different protocols"))
            found.append(None)
            continue
        row = rows[0] or {"items": (), "metric": ""}
        known = {"relative": row["metric"] == "perplexity", "items": len(row["items"])}
        made.append(FurtherFigure(column, mean(values), deviation(values), **known))
        found.append(_paired(column, entry, baseline))
    adjusted = iter(holm([one.p for one in found if one is not None]))
    return [
        entry if one is None else _changed(entry, one, next(adjusted))
        for entry, one in zip(made, found, strict=True)
    ]


def _changed(entry: FurtherFigure, found: Contrast, p_adjusted: float) -> FurtherFigure:
    moved, (low, high) = found.mean, found.interval()
    if entry.relative:
        # The items of a perplexity are nats per token, whose difference is its ratio.
        moved, low, high = math.expm1(moved), math.expm1(low), math.expm1(high)
    return replace(entry, difference=moved, interval=(low, high), p_adjusted=p_adjusted)


def _paired(column: str, entry: Measured, baseline: Measured | Record | None) -> Contrast | None:
    if baseline is None or (isinstance(baseline, Measured) and baseline.method == entry.method):
        return None
    if isinstance(baseline, Measured):
        common = set(entry.seeds) & set(baseline.seeds)
        own, other = (
            [items_of(record, column) for record in one.over(common).records]
            for one in (entry, baseline)
        )
    else:
        own = [items_of(record, column) for record in entry.records]
        other = [items_of(baseline, column)]
    sizes = {len(items) for items in (*own, *other)}
    baseline_records = baseline.records if isinstance(baseline, Measured) else [baseline]
    # Figures of another protocol do not pair, as in an evaluation against another model.
    alike = len(protocols_of([*entry.records, *baseline_records], column)) == 1
    if not own or not other or len(sizes) > 1 or 0 in sizes or not alike:
        return None
    return contrast(np.array(own, np.float64).T - np.array(other, np.float64).T)


def protocols_of(records: Sequence[Record], column: str) -> set[str]:
    """The different protocols by which records have this column."""
    rows = (_figures(record).get(column) for record in records)
    return {digest_json(row.get("protocol", {})) for row in rows if row is not None}


def items_of(record: Record, column: str) -> Sequence[float]:
    """Numbers to pair, whose mean is the value; none where items are not the same for all."""
    row = _figures(record).get(column)
    details = {} if row is None else row.get("details", {})
    # Runs of one model have no partner among those of another.
    if row is None or details.get(RUNS):
        return ()
    items: Sequence[float] = row["items"]
    sizes: Sequence[int] = details.get(STRATA) or [len(items)]
    # The value is the mean over groups, however many items each has.
    weights = [len(items) / (len(sizes) * size) for size in sizes for _ in range(size)]
    return [weight * item for weight, item in zip(weights, items, strict=True)]


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
            twins = [r for r in rows if (r["name"], r["metric"]) == (row["name"], row["metric"])]
            if len(twins) > 1:
                # Two filters of one task, such as strict-match and flexible-extract.
                words.append(str(row["protocol"].get("filter")))
            usual = " ".join(dict.fromkeys(words))
            made[_SHORT.get((suite, row["metric"]), usual) if alone else usual] = row
    return made


def failed_suites(records: Sequence[Record]) -> dict[str, str]:
    """Return the suites that gave no figure at all, with the reason."""
    return {
        suite: found["reason"]
        for record in records
        for suite, found in record.get("suites", {}).items()
        if "reason" in found and "rows" not in found
    }
