"""How a published figure is made from raw losses; each derivation by its name."""

import importlib
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autoprune.evaluation.intervals import wilson
from autoprune.search.paired import Difference, paired_difference
from benchmarks.arms_table import adjusted, contrasts, detectable
from benchmarks.arms_table import ratio as ratio_of
from benchmarks.evidence.records import (
    DENSE,
    EvidenceError,
    Record,
    Windows,
    as_windows,
    read_record,
    read_searches,
)
from benchmarks.evidence.step_scores import STEP_SCORES

Of = Mapping[str, Any]


def perplexity(record: Record, of: Of) -> float:
    """Mean over draws of ``exp`` of the mean loss."""
    return statistics.fmean(_perplexities(record, of))


def deviation(record: Record, of: Of) -> float:
    """Sample standard deviation of the perplexity over draws."""
    found = _perplexities(record, of)
    if len(found) < 2:
        raise EvidenceError(f"{of['method']} at {of['budget']} has one draw and no deviation")
    return statistics.stdev(found)


def change(record: Record, of: Of) -> float:
    """Change of perplexity against ``against`` over common draws, in percent."""
    return 100 * math.expm1(float(_differences(record, of).mean()))


def ratio(record: Record, of: Of) -> float:
    """Perplexity in that of ``against``, over common draws."""
    return math.exp(float(_differences(record, of).mean()))


def won_back(record: Record, of: Of) -> float:
    """Share of the nats lost by ``against`` to the dense model that are won back, in percent."""
    gained = -float(_differences(record, of).mean())
    lost = float(_differences(record, {**of, "method": of["against"], "against": DENSE}).mean())
    return 100 * gained / lost


def _end(place: int) -> Callable[[Record, Of], float]:
    def end(record: Record, of: Of) -> float:
        """An end of the 95 % interval of ``change`` that ``autoprune compare`` prints."""
        return 100 * math.expm1(_contrast(record, of).interval()[place])

    return end


def smallest(record: Record, of: Of) -> float:
    """Smallest change that would have been found with 80 %, in percent.

    As ``autoprune compare`` computes it: by the first of Holm's steps over all methods at the
    budget.
    """
    known = {DENSE, of["against"]}
    family = sum(budget == of["budget"] and name not in known for name, budget in record.losses)
    return 100 * math.expm1(_contrast(record, of).detectable(family))


def _contrast(record: Record, of: Of) -> Any:
    return _contrast_of(_differences(record, of), of)


def _contrast_of(differences: Windows, of: Of) -> Any:
    # By its name, since only tables with intervals need it.
    contrasts = importlib.import_module("autoprune.evaluation.contrasts")
    found = contrasts.contrast(differences)
    if found is None:
        raise EvidenceError(f"{of['method']} at {of['budget']} has no interval")
    return found


def _paired_end(place: int) -> Callable[[Record, Of], float]:
    def end(record: Record, of: Of) -> float:
        """An end of the 95 % interval of Student's t over windows, as searches print it."""
        found = paired_difference(
            _differences(record, of).mean(axis=1).tolist(), _zeros(record, of)
        )
        return 100 * math.expm1((found.low, found.high)[place])

    return end


def setting(record: Record, of: Of) -> float:
    """A number of how it was measured: ``field`` of record.json, such as protocol.seqlen."""
    return _number(record.body, of)


def count(record: Record, of: Of) -> float:
    """A number that was counted: ``field`` of counts.json, such as build.rejected.tie."""
    return _number(record.counts, of)


def _number(value: Any, of: Of) -> float:
    for name in str(of["field"]).split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return float(value) * float(of.get("scale", 1))


def seconds(record: Record, of: Of) -> float:
    """Mean seconds of scores, masks and repair over draws."""
    return statistics.fmean(float(cell["prune_seconds"]) for cell in _cells(record, of).values())


def megabytes(record: Record, of: Of) -> float:
    """Mean size of the saved checkpoint over draws, as ``form`` dense or compact, in 10^6 bytes."""
    return statistics.fmean(cell["bytes"][of["form"]] / 1e6 for cell in _cells(record, of).values())


def selection(record: Record, of: Of) -> float:
    """As ``perplexity``, of the text that chose strengths."""
    losses = [as_windows(cell["selection"]["nll"]) for cell in _cells(record, of).values()]
    return statistics.fmean(float(np.exp(nll.mean())) for nll in losses)


def measure(record: Record, of: Of) -> float:
    """Mean over draws and items of a ``metric`` of a ``suite``, times ``scale``.

    A figure without items, such as bytes, counts as it is.
    """
    found = [statistics.fmean(items) for items in _items(record, of).values()]
    return statistics.fmean(found) * float(of.get("scale", 1))


def measure_deviation(record: Record, of: Of) -> float:
    """Sample standard deviation of ``measure`` over draws."""
    found = [statistics.fmean(items) for items in _items(record, of).values()]
    if len(found) < 2:
        raise EvidenceError(f"{of['method']} at {of['budget']} has one draw and no deviation")
    return statistics.stdev(found) * float(of.get("scale", 1))


def measure_change(record: Record, of: Of) -> float:
    """Mean difference of ``measure`` from ``against``, paired by item and draw."""
    return float(_measure_differences(record, of).mean()) * float(of.get("scale", 1))


def _measure_end(place: int) -> Callable[[Record, Of], float]:
    def end(record: Record, of: Of) -> float:
        """An end of the 95 % interval of ``measure change`` that ``autoprune compare`` prints."""
        found = _contrast_of(_measure_differences(record, of), of)
        return float(found.interval()[place]) * float(of.get("scale", 1))

    return end


def _measure_differences(record: Record, of: Of) -> Windows:
    """Differences of the items of a suite, [items, draws]; the dense model stands for each draw."""
    own = _items(record, of)
    other = _items(record, {**of, "method": of["against"]})
    if of["against"] == DENSE:
        (only,) = other.values()
        other = dict.fromkeys(own, only)
    if own.keys() != other.keys():
        raise EvidenceError(f"{of['method']} and {of['against']} lack common draws")
    return np.array([np.subtract(own[draw], other[draw]) for draw in sorted(own)]).T


def _items(record: Record, of: Of) -> dict[int, list[float]]:
    """What each item of a suite counts, by draw."""
    found = {}
    for draw, cell in _cells(record, of).items():
        rows = cell["suites"].get(of["suite"], {}).get("rows", ())
        wanted = (of["metric"], of.get("name"))
        row = next(
            (r for r in rows if wanted in ((r["metric"], r["name"]), (r["metric"], None))), None
        )
        items = [] if row is None else row["items"] or [row.get("value")]
        if not items or None in items:
            raise EvidenceError(f"{of['method']} has no {of['metric']} of the suite {of['suite']}")
        found[draw] = list(map(float, items))
    return found


def hit_rate(record: Record, of: Of) -> float:
    """Share of right answers under ``context``, in percent."""
    return 100 * statistics.fmean(_hits(record, of))


def _hit_end(place: int) -> Callable[[Record, Of], float]:
    def end(record: Record, of: Of) -> float:
        """An end of the hit rate's 95 % interval by Wilson, pairs taken as independent."""
        hits = _hits(record, of)
        return 100 * wilson(sum(hits), len(hits))[place]

    return end


def first_rate(record: Record, of: Of) -> float:
    """Share of answers under ``context`` that are the recipe shown first, in percent."""
    return 100 * statistics.fmean(_answered(record, of, record.firsts))


def _hits(record: Record, of: Of) -> list[bool]:
    return _answered(record, of, record.hits)


def _answered(record: Record, of: Of, by_context: Mapping[str, list[bool]]) -> list[bool]:
    found = by_context.get(of["context"])
    if not found:
        raise EvidenceError(f"{record.folder.name} has no answers under {of['context']}")
    return found


def arm_ratio(record: Record, of: Of) -> float:
    """Geometric mean over seeds of an ``arm``'s sealed perplexity by the reference's."""
    return math.exp(_arm(record, of).mean)


def arm_change(record: Record, of: Of) -> float:
    """Change of sealed perplexity of an ``arm`` against ``rival`` over seeds, in percent."""
    return 100 * math.expm1(_contrasts(record, of)[of["rival"]].mean)


def arm_p(record: Record, of: Of) -> float:
    """Holm's p of ``arm`` against ``rival`` among all ``rivals``."""
    return adjusted(_contrasts(record, of))[of["rival"]]


def arm_detectable(record: Record, of: Of) -> float:
    """Smallest change against ``rival`` that would have been found with 80 %, in percent."""
    return 100 * detectable(_contrasts(record, of))[of["rival"]]


def _arm_end(place: int) -> Callable[[Record, Of], float]:
    def end(record: Record, of: Of) -> float:
        """An end of the 95 % interval of ``arm ratio``, or of ``arm change`` with ``rival``."""
        if "rival" not in of:
            found = _arm(record, of)
            return math.exp((found.low, found.high)[place])
        found = _contrasts(record, of)[of["rival"]]
        return 100 * math.expm1((found.low, found.high)[place])

    return end


def arm_sum(record: Record, of: Of) -> float:
    """What ``field`` of an ``arm``'s searches adds up to, such as ``judging.skipped``."""
    found = _searches(record, of).items()
    values = [_number(one, of) for (arm, _), one in found if arm == of["arm"]]
    if not values:
        raise EvidenceError(f"{record.folder.name} has no search of the arm {of['arm']}")
    return math.fsum(values)


def _arm(record: Record, of: Of) -> Difference:
    found = _searches(record, of).items()
    values = [ratio_of(one, "sealed") for (arm, _), one in found if arm == of["arm"]]
    known = [math.log(value) for value in values if value]
    if not known:
        raise EvidenceError(f"{record.folder.name} has no search of the arm {of['arm']}")
    return paired_difference(known, [0.0] * len(known))


def _contrasts(record: Record, of: Of) -> dict[str, Difference]:
    return contrasts(_searches(record, of), of["arm"], of["rivals"])


def _searches(record: Record, of: Of) -> Mapping[tuple[str, int], Mapping[str, Any]]:
    """The searches of a record, and of the one that it is taken together ``with``."""
    if "with" not in of:
        return record.searches
    return read_searches(record.folder, record.folder.parent / of["with"])


def _cells(record: Record, of: Of) -> Mapping[int, Mapping[str, Any]]:
    """Facts of a method's cells by draw."""
    budget = "" if of["method"] == DENSE else of.get("budget", "")
    found = record.cells.get((of["method"], budget), {})
    if not found:
        raise EvidenceError(f"{record.folder.name} has no cells of {of['method']}")
    return found


DERIVATIONS: Mapping[str, Callable[[Record, Of], float]] = {
    "perplexity": perplexity,
    "deviation": deviation,
    "change": change,
    "ratio": ratio,
    "won back": won_back,
    "low": _end(0),
    "high": _end(1),
    "low over windows": _paired_end(0),
    "high over windows": _paired_end(1),
    "setting": setting,
    "count": count,
    "seconds": seconds,
    "megabytes": megabytes,
    "selection": selection,
    "measure": measure,
    "measure deviation": measure_deviation,
    "measure change": measure_change,
    "measure low": _measure_end(0),
    "measure high": _measure_end(1),
    **STEP_SCORES,
    "hit rate": hit_rate,
    "hit rate low": _hit_end(0),
    "hit rate high": _hit_end(1),
    "first shown": first_rate,
    "arm sum": arm_sum,
    "arm ratio": arm_ratio,
    "arm change": arm_change,
    "arm low": _arm_end(0),
    "arm high": _arm_end(1),
    "arm p": arm_p,
    "detectable": smallest,
    "arm detectable": arm_detectable,
}


def _perplexities(record: Record, of: Of) -> list[float]:
    draws = record.of(of["method"], of.get("budget", ""))
    return [float(np.exp(nll.mean())) for nll in draws.values()]


def _differences(record: Record, of: Of) -> Windows:
    """Paired differences of the losses, [windows, draws], over the method's draws.

    Windows whose places ``without`` names are left out. With ``once``, the only draw of ``against``
    stands for all, as the dense model's does: it read no calibration text.
    """
    own = record.of(of["method"], of["budget"])
    other = _beside(record, of).of(of["against"], of["budget"])
    if of["against"] == DENSE or of.get("once"):
        (only,) = other.values()
        other = dict.fromkeys(own, only)
    missing = sorted(own.keys() - other.keys())
    if missing:
        raise EvidenceError(
            f"{of['against']} lacks the draws {', '.join(map(str, missing))} of {of['method']}; if "
            'it has one draw and reads no text, write "once": true'
        )
    found = np.stack([own[draw] - other[draw] for draw in sorted(own)], axis=1)
    return np.delete(found, list(of.get("without", ())), axis=0)


def _beside(record: Record, of: Of) -> Record:
    """The record that holds ``against``: this one, or the ``record`` of the same sealed text."""
    if "record" not in of:
        return record
    other = read_record(record.folder.parent / of["record"])
    digests = [one.body.get("protocol", {}).get("sealed_digest") for one in (record, other)]
    if digests[0] is None or digests[0] != digests[1]:
        raise EvidenceError(f"{record.folder.name} and {of['record']} measured different text")
    return other


def _zeros(record: Record, of: Of) -> list[float]:
    return [0.0] * len(_differences(record, of))
