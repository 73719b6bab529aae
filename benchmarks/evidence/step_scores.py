"""Figures made of the scores that verifiers gave to labelled steps; each derivation by its name."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from autoprune.verify.auroc import auroc, auroc_interval, average_precision
from benchmarks.evidence.records import EvidenceError, Record

Of = Mapping[str, Any]


def separation(record: Record, of: Of) -> float:
    """AUROC of a ``verifier`` over all steps."""
    return auroc(*_steps(record, of))


def _separation_end(place: int) -> Callable[[Record, Of], float]:
    def end(record: Record, of: Of) -> float:
        """An end of the 95 % bootstrap interval of ``auroc`` over solutions."""
        _steps(record, of)
        found = auroc_interval(
            record.scores[of["verifier"]],
            [list(map(bool, one)) for one in record.scores["right"]],
        )
        if found is None:
            raise EvidenceError(f"the AUROC of {of['verifier']} has no interval")
        return found[place]

    return end


def wrong_found(record: Record, of: Of) -> float:
    """PR-AUC of a ``verifier`` over all steps: average precision at finding the wrong ones."""
    return average_precision(*_steps(record, of))


def wrong_share(record: Record, of: Of) -> float:
    """Share of wrong steps, times ``scale``: what PR-AUC is held against."""
    _, right = _steps(record, {"verifier": "right"})
    return (1 - statistics.fmean(right)) * float(of.get("scale", 1))


def _steps(record: Record, of: Of) -> tuple[list[float], list[bool]]:
    """Scores and labels of all steps."""
    flat = []
    for name in (str(of["verifier"]), "right"):
        if name not in record.scores:
            raise EvidenceError(f"{record.folder.name} has no scores of {name}")
        flat.append([value for one in record.scores[name] for value in one])
    return flat[0], list(map(bool, flat[1]))


STEP_SCORES: Mapping[str, Callable[[Record, Of], float]] = {
    "auroc": separation,
    "auroc low": _separation_end(0),
    "auroc high": _separation_end(1),
    "average precision": wrong_found,
    "wrong share": wrong_share,
}
