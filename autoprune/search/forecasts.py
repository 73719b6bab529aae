"""How good forecasts were: each is a predicted change against a recipe measured before."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from autoprune.design.claims import count_predictions, verdict_of
from autoprune.design.graph import Graph
from autoprune.evaluation.intervals import wilson
from autoprune.search.archive import Archive, Entry
from autoprune.search.paired import rank_correlation

# Changes beyond this, in nats, are clipped to it, forecast or measured.
LARGEST = 1.0
# No forecast is of a larger gain: a share of the perplexity.
LEAST = -0.9
JUDGED = ("right", "wrong")


@dataclass(frozen=True)
class Forecasts:
    """Grades of stated forecasts whose recipes were measured.

    Args:
        right: Predictions, with a number or not, that turned out right, as prompts count them.
        wrong: Those that turned out wrong; for all others the difference may be chance.
        usual: Right ones if the more frequent outcome were always predicted.
        graded: Forecasts with a number.
        hits: Those with the right sign, whether beyond chance or not.
        base: Hits if the more frequent sign were always forecast: no skill at all.
        interval: 95 % interval of the share of hits (Wilson).
        forecast: Mean forecast, as a relative change of perplexity.
        measured: Mean of the measured changes.
        error: Median absolute error, in points of perplexity's relative change.
        correlation: Spearman's, of forecasts and outcomes; None for fewer than three.
    """

    right: int
    wrong: int
    usual: int
    graded: int
    hits: int
    base: int
    interval: tuple[float, float]
    forecast: float
    measured: float
    error: float
    correlation: float | None

    @property
    def text(self) -> str:
        """One line for people."""
        judged, share = self.right + self.wrong, ""
        if judged:
            low, high = wilson(self.right, judged)
            share = (
                f" ({self.right / judged:.0%} [{low:.0%}, {high:.0%}]; always the more frequent: "
                f"{self.usual / judged:.0%})"
            )
        ranks = "" if self.correlation is None else f", rank correlation {self.correlation:.2f}"
        return (
            f"{self.right} predictions right and {self.wrong} wrong{share}; {self.graded} with a "
            f"number: mean forecast {self.forecast:+.1%}, measured {self.measured:+.1%}, median "
            f"error {self.error:.1%}{ranks}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**vars(self), "interval": list(self.interval), "text": self.text}


def graded_forecasts(archive: Archive, graph: Graph) -> Forecasts | None:
    """Grade the forecasts of all entries measured whole; None if there are none."""
    pairs = [pair for entry in archive.designed() if (pair := _graded(archive, entry)) is not None]
    if not pairs:
        return None
    forecast, measured = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    hits = sum((stated < 0) == (found < 0) for stated, found in pairs)
    better = sum(found < 0 for found in measured)
    count = len(pairs)
    errors = [abs(math.expm1(stated) - math.expm1(found)) for stated, found in pairs]
    verdicts = [
        (entry.prediction.direction, verdict_of(graph, entry.alias))
        for entry in archive.designed()
        if entry.prediction is not None
    ]
    judged = [(way == "better") == (it == "right") for way, it in verdicts if it in JUDGED]
    right, wrong = count_predictions(graph)
    return Forecasts(
        right=right,
        wrong=wrong,
        usual=max(sum(judged), len(judged) - sum(judged)),
        graded=count,
        hits=hits,
        base=max(better, count - better),
        interval=wilson(hits, count),
        forecast=math.expm1(math.fsum(forecast) / count),
        measured=math.expm1(math.fsum(measured) / count),
        error=statistics.median(errors),
        correlation=rank_correlation((forecast, measured)),
    )


def _graded(archive: Archive, entry: Entry) -> tuple[float, float] | None:
    """Stated and measured change, both in nats and at most :data:`LARGEST`."""
    prediction = entry.prediction
    if prediction is None or prediction.change is None or 2 not in entry.results:
        return None
    if entry.duplicate_of is not None or prediction.versus not in archive:
        return None
    found = archive.compare(entry, archive[prediction.versus], fitness="perplexity")
    stated = math.log1p(max(prediction.change, LEAST))
    return None if found is None else (min(stated, LARGEST), min(found.mean, LARGEST))


def breakthroughs(entries: Iterable[Entry], first: float) -> list[Entry]:
    """Return entries better than all that were measured whole before them, in order of design."""
    best, found = first, []
    for entry in _whole(entries):
        if entry.score < best:
            best = entry.score
            found.append(entry)
    return found


def best_so_far(entries: Iterable[Entry], first: float) -> list[float]:
    """Best score after each entry measured whole, beginning with that of the best start."""
    return list(accumulate((entry.score for entry in _whole(entries)), min, initial=first))


def _whole(entries: Iterable[Entry]) -> list[Entry]:
    own = [entry for entry in entries if 2 in entry.results and entry.duplicate_of is None]
    return sorted(own, key=lambda entry: entry.order)
