"""From measured cells to rows: mean and deviation over draws, paired intervals over windows."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from autoprune.comparison.plan import DENSE
from autoprune.evaluation.intervals import Interval, bootstrap_mean

BASELINES = ("wanda", "wanda+sequential")
OK, UNAVAILABLE = "ok", "unavailable"


@dataclass(frozen=True)
class Row:
    """One method at one budget.

    Args:
        method: Its name.
        target: The budget's label.
        sparsity: Asked share of zeros.
        pattern: ``unstructured`` or N:M.
        status: ``ok`` or ``unavailable``.
        reason: Why there is no figure.
        measured_as: The method with its tuned strength.
        trials: Selection trials that chose the strength.
        seeds: Calibration draws that are measured.
        perplexity: Mean over draws, on sealed windows.
        deviation: Sample standard deviation over draws; None for one draw.
        selection: Mean perplexity over draws on selection windows.
        selection_deviation: Its sample standard deviation over draws; None for one draw.
        change: Perplexity relative to the baseline's, minus 1, paired by window over the draws that
            both have.
        interval: Bootstrap interval of 95 % of ``change`` over windows.
        paired_draws: Draws that ``change`` is over; None where there is no change.
        zeros: Pruned weights, counted in the weights.
        prunable: All prunable weights.
        prune_seconds: Mean time of scores, masks and repair, statistics excluded.
        evaluate_seconds: Mean time of the sealed measurement.
        notes: Fallbacks that repairs reported, over all draws.
    """

    method: str
    target: str
    sparsity: float
    pattern: str
    status: str = OK
    reason: str | None = None
    measured_as: str | None = None
    trials: int = 0
    seeds: int = 0
    perplexity: float | None = None
    deviation: float | None = None
    selection: float | None = None
    selection_deviation: float | None = None
    change: float | None = None
    interval: Interval | None = None
    paired_draws: int | None = None
    zeros: int | None = None
    prunable: int | None = None
    prune_seconds: float | None = None
    evaluate_seconds: float | None = None
    notes: int = 0

    @property
    def distinguishable(self) -> bool:
        """Whether the interval against the baseline excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**asdict(self), "distinguishable": self.distinguishable}


@dataclass(frozen=True)
class Measured:
    """The cells of one method at one budget, one per draw.

    Args:
        method: The method's name.
        measured_as: With its tuned strength.
        target: JSON form of the budget and its ``label``.
        trials: Selection trials.
        records: One record per draw.
        seeds: Number of each record's draw.
    """

    method: str
    measured_as: str
    target: Mapping[str, Any]
    trials: int
    records: Sequence[Mapping[str, Any]]
    seeds: Sequence[int]

    @property
    def complete(self) -> bool:
        """Whether every draw has a figure."""
        return bool(self.records) and all(r["status"] == OK for r in self.records)

    def over(self, seeds: Collection[int]) -> "Measured":
        """The same method with these draws alone."""
        kept = [n for n, seed in enumerate(self.seeds) if seed in seeds]
        records, left = [self.records[n] for n in kept], [self.seeds[n] for n in kept]
        return replace(self, records=records, seeds=left)

    def losses(self, part: str = "sealed") -> list[float]:
        """Loss per window, averaged over draws."""
        by_draw = np.array([record[part]["nll"] for record in self.records], np.float64)
        means: list[float] = by_draw.mean(axis=0).tolist()
        return means

    def perplexities(self, part: str = "sealed") -> list[float]:
        """Perplexity per draw."""
        return [float(record[part]["perplexity"]) for record in self.records]


def paired(measured: Measured, other: Measured) -> tuple[int, float | None, Interval | None]:
    """Change against another method, over the draws that both have.

    An interrupted comparison leaves methods with different draws, and a mean over three draws less
    one over two would hold the difference of the draws.

    Args:
        measured: Complete cells of the one.
        other: Complete cells of the other, at the same budget.

    Returns:
        Number of draws that both have, and what :func:`relative_change` gives over them; no change
        where they share no draw.
    """
    common = set(measured.seeds) & set(other.seeds)
    if not common:
        return 0, None, None
    change = relative_change(measured.over(common).losses(), other.over(common).losses())
    return len(common), *change


def relative_change(
    losses: Sequence[float], reference: Sequence[float]
) -> tuple[float | None, Interval | None]:
    """Perplexity over the reference's, minus 1, with its paired bootstrap interval.

    Args:
        losses: Per window.
        reference: Of the same windows.

    Returns:
        Change and interval; None where a loss is not finite or one window says nothing.
    """
    differences = [a - b for a, b in zip(losses, reference, strict=True)]
    if not all(math.isfinite(value) for value in differences):
        return None, None
    difference, interval = bootstrap_mean(differences)
    if interval is None:
        return _expm1(difference), None
    return _expm1(difference), (_expm1(interval[0]), _expm1(interval[1]))


def _expm1(value: float) -> float:
    # A destroyed model may be any number of times worse.
    return math.expm1(value) if value < 700 else math.inf


def make_row(measured: Measured, reference: Measured | Sequence[float] | None) -> Row:
    """The row of one method at one budget.

    Args:
        measured: Its cells.
        reference: The baseline at this budget, or the dense model's loss per sealed window; None
            when it has none.
    """
    place = {
        "method": measured.method,
        "target": measured.target["label"],
        "sparsity": measured.target["sparsity"],
        "pattern": measured.target["pattern"],
        "measured_as": measured.measured_as,
        "trials": measured.trials,
        "seeds": len(measured.records),
    }
    if not measured.complete:
        reasons = [r["reason"] for r in measured.records if r["status"] != OK]
        return Row(**place, status=UNAVAILABLE, reason=reasons[0] if reasons else "not measured")
    sealed, selection = measured.perplexities(), measured.perplexities("selection")
    draws, change, interval = 0, None, None
    if isinstance(reference, Measured):
        draws, change, interval = paired(measured, reference)
    elif reference is not None:
        draws = len(measured.records)
        change, interval = relative_change(measured.losses(), reference)
    records = measured.records
    return Row(
        **place,
        perplexity=mean(sealed),
        deviation=_deviation(sealed),
        selection=mean(selection),
        selection_deviation=_deviation(selection),
        change=change,
        interval=interval,
        paired_draws=None if change is None else draws,
        zeros=records[0]["zeros"],
        prunable=records[0]["prunable"],
        prune_seconds=mean([r["prune_seconds"] for r in records]),
        evaluate_seconds=mean([r["sealed"]["seconds"] for r in records]),
        notes=sum(r["note_count"] for r in records),
    )


def baseline_of(methods: Sequence[str]) -> str:
    """Wanda where it is compared, else the dense model."""
    return next((name for name in BASELINES if name in methods), DENSE)


def make_rows(
    measured: Sequence[Measured], dense: Mapping[str, Any], baseline: str
) -> tuple[Row, ...]:
    """All rows, with changes against the baseline at the same budget.

    Args:
        measured: Cells by method and budget.
        dense: Record of the dense model.
        baseline: Name of the method compared with, or ``dense``.
    """
    references: dict[str, Measured | Sequence[float] | None] = {}
    for entry in measured:
        label = entry.target["label"]
        if baseline == DENSE:
            references[label] = dense["sealed"]["nll"] if dense["status"] == OK else None
        elif entry.method == baseline and entry.complete:
            references[label] = entry
    return tuple(make_row(entry, references.get(entry.target["label"])) for entry in measured)


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; infinite when a value is not finite."""
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return statistics.stdev(values)
