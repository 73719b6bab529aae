"""Repeats recorded results: which step reproduces one, and whether the second result agrees.

The record never changes: a second figure shows how far the first can be trusted on this machine,
and replaces nothing.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autoprune.design.parts import with_proxy
from autoprune.errors import UnknownNameError, UsageError
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry
from autoprune.search.evaluator import first_calibration, validated_as
from autoprune.search.search import Search
from autoprune.search.sentinels import allowed_drift
from autoprune.search.steps import (
    Failed,
    Measure,
    Measurement,
    Outcome,
    Seal,
    Sealed,
    Validate,
    Validation,
    outcome_from_json,
)
from autoprune.search_settings import Precision

# Relative tolerance of the error on a few layers, whose sums may have another order.
ERROR_TOLERANCE = 1e-3
DIGITS = 12


@dataclass(frozen=True)
class Compared:
    """A recorded figure and its repetition.

    Args:
        figure: Name of the figure.
        recorded: Value on record.
        now: Repeated value.
        agrees: Whether both are the same, as far as the order of sums allows.
    """

    figure: str
    recorded: str
    now: str
    agrees: bool


def known_entry(search: Search, alias: str) -> Entry:
    """Return the candidate or start with that name, whose recipe could be read."""
    if alias not in search.archive:
        raise UnknownNameError("candidate", alias, [entry.alias for entry in search.entries])
    entry = search.archive[alias]
    if entry.recipe is None:
        raise UsageError(
            f"{alias} holds no recipe ({entry.code}: {entry.detail}), so nothing of it can be done "
            "again; choose another candidate"
        )
    return entry


def validation_again(search: Search, entry: Entry) -> tuple[Validate, Validation | Failed]:
    """Return the step that validates an entry once more, and the outcome on record.

    One validation serves all recipes of a metric and group, or all of the same shapes, so the step
    has the recipe that was validated.
    """
    for step, outcome in _recorded(search, "Validate"):
        recipe = Recipe.from_json(step["recipe"])
        spec, own = search.spec, entry.known_recipe
        if validated_as(spec, recipe) == validated_as(spec, own):
            assert isinstance(outcome, Validation | Failed)
            # A speed is never timed again: it would scatter.
            known = search.budget_of(entry.alias) if spec.target.unit == "faster" else {}
            where = (f"{entry.alias}.again", 0, 0, entry.alias)
            return Validate(*where, recipe, known.get("share")), outcome
    raise UsageError(
        f"{entry.alias} was not validated yet, so there is nothing to compare with; leave out the "
        "candidate to do what is open"
    )


def measurement_again(search: Search, entry: Entry) -> tuple[Measure, Measurement]:
    """Return the step that measures an entry again on all its windows, and the recorded result.

    Masks and repair are computed again, ignoring what is remembered (role ``repeat``), in the
    precision of the record.
    """
    found, spec = entry.measurement, search.spec
    if found is None or entry.recipe is None:
        why = f"was rejected ({entry.code}: {entry.detail})" if entry.code else "is not measured"
        raise UsageError(
            f"{entry.alias} {why}, so there is no figure to compare with; choose a measured "
            "candidate"
        )
    recipe = entry.recipe if entry.whole is not None else with_proxy(entry.recipe, spec.proxy)
    step = Measure(
        f"{entry.alias}.again", 0, 0, entry.alias, recipe, entry.rung, len(found.nll),
        search.share_of(entry.alias), "repeat", kl=bool(found.kl),
        calibration=None if entry.whole is not None else first_calibration(spec, entry.recipe),
    )  # fmt: skip
    return step, found


def sealed_again(search: Search) -> tuple[Seal, Sealed]:
    """Return the step that measures the sealed recipes once more, and the recorded result."""
    for step, outcome in _recorded(search, "Seal"):
        if isinstance(outcome, Sealed) and outcome.measurements:
            recipes = ((alias, search.archive[alias].recipe) for alias in outcome.measurements)
            pairs = tuple((alias, recipe) for alias, recipe in recipes if recipe is not None)
            return Seal("sealed.again", pairs, step["windows"], step["sparsity"]), outcome
    raise UsageError(
        f"nothing of this search was sealed (it ended by {search.finished!r}); start a search "
        "under another name"
    )


def compare_validations(recorded: Outcome, now: Outcome) -> list[Compared]:
    """Compare the verdict, the signature of the masks, and the error on real layers."""
    rows = [_same("verdict", _verdict(recorded), _verdict(now))]
    if not (isinstance(recorded, Validation) and isinstance(now, Validation)):
        return rows
    if recorded.signature is not None or now.signature is not None:
        rows.append(_same("signature", _short(recorded.signature), _short(now.signature)))
    if recorded.budget and now.budget:
        found = [f"{one.budget['share']:.6%}" for one in (recorded, now)]
        rows.append(_same("share of the blocks", *found))
    first, second = recorded.reconstruction_error, now.reconstruction_error
    if first is not None and second is not None:
        close = math.isclose(first, second, rel_tol=ERROR_TOLERANCE)
        rows.append(Compared("error on real layers", f"{first:.6g}", f"{second:.6g}", close))
    return rows


def compare_measurements(
    recorded: Measurement,
    now: Outcome,
    recipe: Recipe,
    name: str = "",
    precision: Precision = "float32",
) -> list[Compared]:
    """Compare masks, perplexity and the window that moved most.

    Perplexity agrees if no window moved by more than the drift that a search tolerates: a
    thousandth of a nat, more if blocks were tuned or products rounded.
    """
    name = f"{name} " if name else ""
    if not isinstance(now, Measurement):
        return [_same(f"{name}outcome", "measured", _verdict(now))]
    moved = max(abs(a - b) for a, b in zip(recorded.nll, now.nll, strict=True))
    perplexity = (f"{recorded.perplexity:.4f}", f"{now.perplexity:.4f}")
    largest = f"{moved:.2g} nats in a window at most"
    return [
        _same(f"{name}masks", _short(recorded.mask_digest), _short(now.mask_digest)),
        _same(f"{name}zeros", f"{recorded.sparsity:.6%}", f"{now.sparsity:.6%}"),
        Compared(f"{name}perplexity", *perplexity, moved <= allowed_drift(recipe, precision)),
        Compared(f"{name}windows", str(len(recorded.nll)), f"{len(now.nll)}, {largest}", True),
    ]


def compare_sealed(step: Seal, recorded: Sealed, now: Outcome) -> list[Compared]:
    """Compare the measurements of all sealed recipes on record."""
    if not isinstance(now, Sealed):
        return [_same("outcome", "measured", _verdict(now))]
    rows = []
    for alias, recipe in step.recipes:
        second = now.measurements.get(alias) or now.failures[alias]
        rows += compare_measurements(recorded.measurements[alias], second, recipe, alias)
    return rows


def _recorded(search: Search, kind: str) -> Iterator[tuple[dict[str, Any], Outcome]]:
    for body in search.history():
        if body["step"]["kind"] == kind:
            yield body["step"], outcome_from_json(body["outcome"])


def _verdict(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return f"{outcome.code}: {outcome.detail}"
    return outcome.code if isinstance(outcome, Validation) else "measured"


def _same(figure: str, recorded: str, now: str) -> Compared:
    return Compared(figure, recorded, now, recorded == now)


def _short(digest: str | None) -> str:
    return (digest or "none")[:DIGITS]
