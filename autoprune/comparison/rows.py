"""Turn measured cells into rows: mean and deviation over draws, changes against baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autoprune.comparison.measured import (
    OK,
    UNAVAILABLE,
    Against,
    Measured,
    Pair,
    Record,
    deviation,
    judged,
    mean,
    pair,
)
from autoprune.comparison.measures import FurtherFigure, columns_of, failed_suites, measures_of
from autoprune.names import DENSE
from autoprune.spelling import split_text

BASELINES = ("wanda", "wanda+sequential")


@dataclass(frozen=True)
class MethodRow:
    """One method at one budget.

    Args:
        method: Name of the method.
        target: The budget's label.
        sparsity: Requested share of zeros.
        pattern: ``unstructured`` or N:M.
        status: ``ok`` or ``unavailable``.
        reason: Why there is no figure.
        measured_as: The method with its tuned strength.
        trials: Selection trials that chose the strength.
        seeds: Number of calibration draws measured.
        perplexity: Mean over draws, on sealed windows.
        deviation: Sample standard deviation over draws; None for one draw.
        selection: Mean perplexity over draws on selection windows.
        selection_deviation: Its sample standard deviation over draws; None for one draw.
        contrasts: Change against each baseline, in their order; empty for an unavailable row.
        measures: Measurements of suites.
        failed_suites: Suites that measured nothing, with the reason.
        zeros: Number of pruned weights, counted in the weights themselves.
        prunable: Number of prunable weights.
        dense_bytes: Bytes of the tensors as saved, including zeros.
        compact_bytes: Bytes of the tensors as `autoprune compact` saves them.
        prune_seconds: Mean time for scores, masks and repair, excluding statistics.
        evaluate_seconds: Mean time of the sealed measurement.
        notes: Number of fallbacks that repairs reported, over all draws.
        calibration: Name of the calibration text; None: the compared text's own part.
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
    contrasts: tuple[Against, ...] = ()
    measures: tuple[FurtherFigure, ...] = ()
    failed_suites: Mapping[str, str] = field(default_factory=dict)
    zeros: int | None = None
    prunable: int | None = None
    dense_bytes: int | None = None
    compact_bytes: int | None = None
    prune_seconds: float | None = None
    evaluate_seconds: float | None = None
    notes: int = 0
    calibration: str | None = None

    @property
    def against(self) -> Against:
        """The change against the first baseline."""
        return self.contrasts[0] if self.contrasts else Against("")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form, with the change against the first baseline at the top level."""
        first = self.against
        return {
            **asdict(self),
            "contrasts": [entry.to_json() for entry in self.contrasts],
            "measures": [entry.to_json() for entry in self.measures],
            "change": first.change,
            "interval": first.interval,
            "p": first.p,
            "p_adjusted": first.p_adjusted,
            "detectable": first.detectable,
            "paired_draws": first.draws,
            "distinguishable": first.distinguishable,
        }


def baseline_of(methods: Sequence[str]) -> str:
    """Return Wanda on the first of its calibration texts, else the dense model."""
    wanda = (name for usual in BASELINES for name in methods if split_text(name)[0] == usual)
    return next(wanda, DENSE)


def make_rows(
    measured: Sequence[Measured], dense: Record, baselines: Sequence[str]
) -> tuple[MethodRow, ...]:
    """Build all rows, with changes against every baseline at the same budget."""
    found: dict[tuple[str, str], list[Against]] = {}
    further_figures: dict[tuple[str, str], list[FurtherFigure]] = {}
    columns = columns_of([*(record for entry in measured for record in entry.records), dense])
    for label in dict.fromkeys(entry.target["label"] for entry in measured):
        here = [entry for entry in measured if entry.target["label"] == label]
        for name in baselines:
            for entry, against in _contrasts(here, dense, name):
                found.setdefault((entry.method, label), []).append(against)
        first: Measured | Record | None = dense if dense["status"] == OK else None
        if baselines[0] != DENSE:
            first = _complete(here, baselines[0])
        for column in columns:
            for entry, measure in zip(here, measures_of(column, here, first), strict=True):
                further_figures.setdefault((entry.method, label), []).append(measure)
    return tuple(
        _row(
            entry,
            tuple(found.get((entry.method, entry.target["label"]), ())),
            tuple(further_figures.get((entry.method, entry.target["label"]), ())),
        )
        for entry in measured
    )


def _complete(measured: Sequence[Measured], name: str) -> Measured | None:
    return next((e for e in measured if e.method == name and e.complete), None)


def _contrasts(
    measured: Sequence[Measured], dense: Record, baseline: str
) -> list[tuple[Measured, Against]]:
    """Contrast the methods of one budget with one baseline, corrected over these methods."""
    usable = [entry for entry in measured if entry.complete]
    reference: Measured | Sequence[float] | None = None
    if baseline != DENSE:
        reference = _complete(measured, baseline)
    elif dense["status"] == OK:
        reference = dense["sealed"]["nll"]
    own = [entry for entry in usable if entry.method == baseline]
    others = [entry for entry in usable if entry.method != baseline]
    pairs = [Pair(0, None, None) if reference is None else pair(e, reference) for e in others]
    against = list(zip(others, judged(baseline, pairs), strict=True))
    # The baseline does not differ from itself and does not count in the correction.
    same = [(e, Against(baseline, 0.0, (0.0, 0.0), draws=len(e.records))) for e in own]
    return [*same, *against]


def _row(
    measured: Measured, contrasts: tuple[Against, ...], measures: tuple[FurtherFigure, ...]
) -> MethodRow:
    place: dict[str, Any] = {
        "method": measured.method,
        "target": measured.target["label"],
        "sparsity": measured.target["sparsity"],
        "pattern": measured.target["pattern"],
        "measured_as": measured.measured_as,
        "trials": measured.trials,
        "seeds": len(measured.records),
        "calibration": split_text(measured.method)[1] or None,
    }
    if not measured.complete:
        reasons = [r["reason"] for r in measured.records if r["status"] != OK]
        return MethodRow(
            **place, status=UNAVAILABLE, reason=reasons[0] if reasons else "not measured"
        )
    sealed, selection = measured.perplexities(), measured.perplexities("selection")
    records = measured.records
    first: Mapping[str, Any] = records[0]
    size = first.get("bytes") or {}
    return MethodRow(
        **place,
        perplexity=mean(sealed),
        deviation=deviation(sealed),
        selection=mean(selection),
        selection_deviation=deviation(selection),
        contrasts=contrasts,
        measures=measures,
        failed_suites=failed_suites(records),
        zeros=first["zeros"],
        prunable=first["prunable"],
        dense_bytes=size.get("dense"),
        compact_bytes=size.get("compact"),
        prune_seconds=mean([r["prune_seconds"] for r in records]),
        evaluate_seconds=mean([r["sealed"]["seconds"] for r in records]),
        notes=sum(r["note_count"] for r in records),
    )
