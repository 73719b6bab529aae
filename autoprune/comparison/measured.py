"""The cells of one method at one budget, and their contrast with another method."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.evaluation.contrasts import Contrast, contrast, holm
from autoprune.evaluation.intervals import LEVEL

OK, UNAVAILABLE = "ok", "unavailable"
Record = Mapping[str, Any]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """The cells of one method at one budget, one per draw.

    Args:
        method: The method's name.
        measured_as: The method's name with its tuned strength.
        target: JSON form of the budget and its ``label``.
        trials: Number of selection trials.
        records: One record per draw.
        seeds: Draw number of each record.
    """

    method: str
    measured_as: str
    target: Mapping[str, Any]
    trials: int
    records: Sequence[Record]
    seeds: Sequence[int]

    @property
    def complete(self) -> bool:
        """Whether every draw has a figure."""
        return bool(self.records) and all(r["status"] == OK for r in self.records)

    def over(self, seeds: Collection[int]) -> "Measured":
        """Return the same method restricted to these draws, in the order of their numbers."""
        order = sorted(range(len(self.seeds)), key=self.seeds.__getitem__)
        kept = [n for n in order if self.seeds[n] in seeds]
        records, left = [self.records[n] for n in kept], [self.seeds[n] for n in kept]
        return replace(self, records=records, seeds=left)

    def losses(self, part: str = "sealed") -> Matrix:
        """Return the loss per window and draw, nats per token, ``[windows, draws]``."""
        return np.array([record[part]["nll"] for record in self.records], np.float64).T

    def perplexities(self, part: str = "sealed") -> list[float]:
        """Return the perplexity per draw."""
        return [float(record[part]["perplexity"]) for record in self.records]


@dataclass(frozen=True)
class Pair:
    """Difference between two methods at one budget.

    Args:
        draws: Number of calibration draws that both have.
        mean: Mean difference of the losses, nats per token; None if there is none.
        found: The difference with its error; None if a single window gives no error.
    """

    draws: int
    mean: float | None
    found: Contrast | None


def pair(measured: Measured, other: Measured | Sequence[float]) -> Pair:
    """Compare a method with another, window by window, over the draws that both have.

    An interrupted comparison leaves methods with different draws. Subtracting a mean over two draws
    from one over three would mix in the difference between the draws.
    """
    if isinstance(other, Measured):
        common = set(measured.seeds) & set(other.seeds)
        losses, reference = measured.over(common).losses(), other.over(common).losses()
    else:
        common = set(measured.seeds)
        losses, reference = measured.losses(), np.asarray(other, np.float64)[:, None]
    if not common:
        return Pair(0, None, None)
    # Destroyed models have infinite losses, whose difference is meaningless.
    if not (np.isfinite(losses).all() and np.isfinite(reference).all()):
        return Pair(len(common), None, None)
    differences = losses - reference
    return Pair(len(common), float(differences.mean()), contrast(differences))


@dataclass(frozen=True)
class Against:
    """Change of a method's perplexity against a baseline at the same budget.

    Args:
        baseline: Name of the baseline.
        change: Perplexity relative to the baseline's, minus 1; None if there is none.
        interval: 95 % interval of the change, over windows and draws (one draw: windows alone).
        p: Two-sided p-value of no change.
        p_adjusted: The same after Holm's correction over the methods compared with this baseline
            at this budget.
        draws: Number of draws that it covers.
        family: Number of methods that the correction covers.
        detectable: Smallest change that would be found with a power of 80 % at a two-sided level
            of 5 %, corrected.
    """

    baseline: str
    change: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_adjusted: float | None = None
    draws: int | None = None
    family: int = 0
    detectable: float | None = None

    @property
    def distinguishable(self) -> bool:
        """Whether the change is significant after the correction."""
        return self.p_adjusted is not None and self.p_adjusted < 1 - LEVEL

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**asdict(self), "distinguishable": self.distinguishable}


def judged(baseline: str, pairs: Sequence[Pair]) -> list[Against]:
    """Compute changes against one baseline at one budget, with Holm's correction over them."""
    with_p = [entry.found.p for entry in pairs if entry.found is not None]
    adjusted = iter(holm(with_p))
    made = []
    for entry in pairs:
        change = None if entry.mean is None else expm1(entry.mean)
        found = Against(baseline, change, draws=None if change is None else entry.draws)
        if entry.found is not None:
            low, high = entry.found.interval()
            found = replace(
                found,
                interval=(expm1(low), expm1(high)),
                p=entry.found.p,
                p_adjusted=next(adjusted),
                family=len(with_p),
                detectable=expm1(entry.found.detectable(len(with_p))),
            )
        made.append(found)
    return made


def expm1(value: float) -> float:
    """Compute ``exp(value) - 1``; infinite if it would overflow, as for a destroyed model."""
    return math.expm1(value) if value < 700 else math.inf


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; infinite if a value is not finite."""
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for a single value or if one is not finite."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return statistics.stdev(values)
