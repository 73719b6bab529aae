"""Judges of what is worth measuring: each forecasts how far behind or ahead a recipe will be.

All forecasts are of one number: the recipe's mean difference of fitness to the reference in nats
per token, the logarithm of the ratio of both perplexities, at most :data:`LARGEST`. They are
made from the archive as it stands, so that a resumed search makes the same ones.

To add a judge, put a function from the archive to a :class:`Judge` into :data:`JUDGES` under its
name. A judge that needs more than recipe and past sets a number on the entry in a step of its own
and hands that number to :func:`calibrated`, as :func:`verifier` does.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from autoprune.design.parts import with_proxy
from autoprune.search.archive import Archive, Entry
from autoprune.search.features import features_of
from autoprune.search.forecasts import LARGEST
from autoprune.search.moves import recipe_key
from autoprune.search.regression import Features, Forecast, Regression

# Fewer outcomes say nothing about their spread.
FEWEST = 4
# Verifier scores closer to 0 or 1 than this are clipped.
SUREST = 0.01


class Judge(Protocol):
    """Forecasts of one judge as things stand."""

    def forecast(self, entry: Entry) -> Forecast | None:
        """Forecast the difference of fitness to the reference, nats per token; None: no opinion."""
        ...


def outcome_of(archive: Archive, entry: Entry) -> float | None:
    """Outcome that grades a forecast: the recipe as it is, with repair; None: not measured."""
    reference = archive.reference_entry()
    if reference is None or entry.whole is None or reference.whole is None:
        return None
    found = archive.compare(entry, reference)
    return None if found is None else _cut(found.mean)


def past(archive: Archive) -> Judge:
    """The judge ``past``: a regression of measured outcomes on features of recipes."""
    known: dict[str, tuple[Features, float]] = {}
    for entry in archive:
        recipe = entry.recipe
        if recipe is None or entry.duplicate_of is not None or entry.status != "measured":
            continue
        error, cheap, whole = (
            _relative_error(archive, entry),
            archive.cheap_score(entry),
            outcome_of(archive, entry),
        )
        if cheap is not None:
            alone = with_proxy(recipe, archive.proxy)
            known[recipe_key(alone)] = features_of(alone, error), _cut(cheap)
        if whole is not None:
            known[recipe_key(recipe)] = features_of(recipe, error), whole
    return _Past(archive, _fitted(known))


def designer(archive: Archive) -> Judge:
    """The judge ``designer``: the change forecast in the answer, calibrated on earlier ones."""

    def stated(entry: Entry) -> float | None:
        prediction = entry.prediction
        if prediction is None or prediction.change is None or prediction.versus not in archive:
            return None
        versus = outcome_of(archive, archive[prediction.versus])
        return None if versus is None else _cut(versus + math.log1p(max(prediction.change, -0.9)))

    return calibrated(archive, stated)


def calibrated(archive: Archive, number: Callable[[Entry], float | None]) -> Judge:
    """Build a judge from one number per entry by regressing measured outcomes on it.

    Args:
        archive: Provides the outcomes to learn from.
        number: Number of an entry, known before it is measured; None: there is none.
    """
    known: dict[str, tuple[Features, float]] = {}
    for entry in archive.designed():
        value, outcome = number(entry), outcome_of(archive, entry)
        if value is not None and outcome is not None and entry.duplicate_of is None:
            known[entry.alias] = {"number": value}, outcome
    return _Calibrated(number, _fitted(known))


def verifier(archive: Archive) -> Judge:
    """The judge ``verifier``: log-odds that the designer's reason is right, calibrated.

    A verifier's confidence in reasons unlike any it has seen says little by itself; what its scores
    are worth here, and in which direction, is learned from the search's own outcomes.
    """

    def odds(entry: Entry) -> float | None:
        if entry.trust is None:
            return None
        trust = max(SUREST, min(1.0 - SUREST, entry.trust))
        return math.log(trust / (1.0 - trust))

    return calibrated(archive, odds)


VERIFIER = "verifier"
JUDGES: dict[str, Callable[[Archive], Judge]] = {
    "past": past,
    "designer": designer,
    VERIFIER: verifier,
}


@dataclass(frozen=True)
class _Past:
    archive: Archive
    fit: Regression | None

    def forecast(self, entry: Entry) -> Forecast | None:
        if self.fit is None or entry.recipe is None:
            return None
        return self.fit.forecast(features_of(entry.recipe, _relative_error(self.archive, entry)))


@dataclass(frozen=True)
class _Calibrated:
    number: Callable[[Entry], float | None]
    fit: Regression | None

    def forecast(self, entry: Entry) -> Forecast | None:
        value = self.number(entry)
        return None if self.fit is None or value is None else self.fit.forecast({"number": value})


def _fitted(known: Mapping[str, tuple[Features, float]]) -> Regression | None:
    if len(known) < FEWEST:
        return None
    rows, outcomes = zip(*known.values(), strict=True)
    return Regression(rows, outcomes)


def _relative_error(archive: Archive, entry: Entry) -> float | None:
    """Output error of an entry on a few real layers, relative to the reference's.

    A program's is relative to that of the first program.
    """
    reference = archive.reference_entry()
    if entry.is_program:
        # One that was rejected has none.
        programs = (e for e in archive if e.is_program and e.validation is not None)
        reference = next((e for e in programs if _error_of(e)), None)
    both = (entry, reference) if reference is not None else (entry,)
    errors = [_error_of(e) for e in both]
    if len(errors) < 2 or errors[0] is None or not errors[1]:
        return None
    return errors[0] / errors[1]


def _error_of(entry: Entry) -> float | None:
    return entry.validation.reconstruction_error if entry.validation else None


def _cut(value: float) -> float:
    """How far behind a recipe is says little beyond a point; how far ahead decides."""
    return min(LARGEST, value)
