"""The tune operator: numbers of a recipe by Optuna, from results on record.

Numbers of the masks (formula, allocation) and of the repair are tuned separately: few windows with
masks alone can compare the former and show nothing about the latter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from autoprune.design.formulas import expression_of, lifted, to_candidate
from autoprune.design.parts import (
    Choices,
    Range,
    allocation_numbers,
    canonical_allocation,
    chain,
    family,
    ignores_metric,
    repair_numbers,
    rounded,
    with_allocation_numbers,
    with_repair_numbers,
)
from autoprune.metrics.language import Expression
from autoprune.metrics.language.parser import MAX_CONSTANT
from autoprune.program_files import whole_constants
from autoprune.recipe import Recipe
from autoprune.search.archive import Archive, Entry
from autoprune.search.moves import mask_key

Ranges = dict[str, Range]
Part = Literal["metric", "allocation", "repair"]
MASKS: tuple[Part, ...] = ("metric", "allocation")
REPAIR: tuple[Part, ...] = ("repair",)
STARTUP_TRIALS = 4
# A suggestion stays within this share of a range around the value known to be good.
REACH = 0.3
# Numbers of a repair are tuned on a log scale if the range spans at least this factor.
DECADE = 10.0


@dataclass(frozen=True)
class Trial:
    """A recipe with other numbers.

    Args:
        parents: Aliases of the entries it comes from.
        direct: Its masks alone do not show how good the numbers are.
    """

    recipe: Recipe
    parents: tuple[str, ...]
    direct: bool = False


def tunable_form(recipe: Recipe) -> Recipe:
    """Return the recipe with an exponent to tune if its formula has no constants; same masks."""
    return recipe if ignores_metric(recipe) else replace(recipe, metric=lifted(recipe.metric))


def numbers(
    recipe: Recipe, choices: Choices, parts: Sequence[Part] = MASKS + REPAIR
) -> dict[str, tuple[float, Range]]:
    """Return all numbers that parts of a recipe declare, with their ranges, as ``PART.NAME``.

    Formula constants range over a factor of four either way, the rest as ``choices`` says. A metric
    that the repair ignores has none.
    """
    found: dict[str, tuple[float, Range]] = {}
    counts = recipe.metric.kind == "expression" and not ignores_metric(recipe)
    expression = expression_of(recipe.metric) if counts else None
    for name, value in (expression.constants if expression else {}).items():
        low, high = _fourfold(value)
        found[f"metric.{name}"] = (value, (max(low, -MAX_CONSTANT), min(high, MAX_CONSTANT)))
    for name, value in _program_constants(recipe).items():
        found[f"metric.{name}"] = (value, _fourfold(value))
    for name, known in allocation_numbers(recipe.allocation, choices).items():
        found[f"allocation.{name}"] = known
    for name, known in repair_numbers(recipe.repair, choices).items():
        found[f"repair.{name}"] = known
    return {name: known for name, known in found.items() if name.partition(".")[0] in parts}


def _fourfold(value: float) -> Range:
    low, high = sorted((value / 4, value * 4)) if value else (-1.0, 1.0)
    return low, high


def suggest(
    recipe: Recipe,
    choices: Choices,
    known: Sequence[tuple[Entry, float]],
    seed: int,
    parts: Sequence[Part] = MASKS,
) -> Recipe:
    """Suggest the next values by a tree-structured Parzen estimator around the recipe's own."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges: Ranges = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, (value, span) in numbers(recipe, choices, parts).items():
        by_log = name.startswith("repair.") and 0.0 < DECADE * span[0] <= span[1]
        ranges[name] = low, high = _near(value, span, by_log=by_log)
        distributions[name] = optuna.distributions.FloatDistribution(low, high, log=by_log)
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True
    )
    study = optuna.create_study(sampler=sampler)
    for entry, loss in known:
        values = _values(recipe, entry, ranges, choices)
        if values is not None:
            trial = optuna.trial.create_trial(
                params=values, distributions=distributions, value=loss
            )
            study.add_trial(trial)
    return _with_values(recipe, study.ask(distributions).params)


def losses(archive: Archive, entries: Sequence[Entry]) -> list[tuple[Entry, float]]:
    """Loss of each entry, minus its repair's usual gain if only its masks were measured.

    Without this, masks alone and whole results would teach the estimator two landscapes.
    """
    gains: dict[str, list[float]] = {}
    for entry in entries:
        promise = archive.cheap_score(entry)
        if entry.recipe is not None and 2 in entry.results and promise is not None:
            gains.setdefault(chain(entry.recipe.repair), []).append(promise - entry.score)
    found = []
    for entry in entries:
        known = gains.get(chain(entry.recipe.repair), []) if entry.recipe else []
        promised = entry.partial and 2 not in entry.results
        gain = sum(known) / len(known) if known and promised else 0.0
        found.append((entry, entry.score - gain))
    return found


def repaired_losses(recipe: Recipe, entries: Sequence[Entry]) -> list[tuple[Entry, float]]:
    """Loss of the entries that have a recipe's masks and were measured with their repair."""
    own = mask_key(recipe)
    found = [e for e in entries if 2 in e.results and e.recipe and mask_key(e.recipe) == own]
    return [(entry, entry.score) for entry in found]


def _program_constants(recipe: Recipe) -> Mapping[str, float]:
    """What a program declares; other code declares nothing that a search may tune."""
    return recipe.metric.params if recipe.metric.kind == "program" else {}


def _near(value: float, span: Range, *, by_log: bool) -> Range:
    low, high = span
    if not by_log:
        # A designer may have gone beyond the range, and what it found must not be lost.
        low, high = min(low, value), max(high, value)
    centre = min(max(value, low), high)
    if by_log:
        factor = math.exp(REACH * math.log(high / low))
        return max(low, centre / factor), min(high, centre * factor)
    reach = REACH * (high - low)
    return max(low, centre - reach), min(high, centre + reach)


def _values(
    recipe: Recipe, entry: Entry, ranges: Ranges, choices: Choices
) -> dict[str, float] | None:
    """The tunable values of an entry of the same structure; None for others."""
    other = entry.recipe
    if other is None or _structure(other, choices) != _structure(recipe, choices):
        return None
    found = {name: value for name, (value, _) in numbers(tunable_form(other), choices).items()}
    if not ranges.keys() <= found.keys():
        return None
    inside = all(low <= found[name] <= high for name, (low, high) in ranges.items())
    return {name: found[name] for name in ranges} if inside else None


def _with_ones(expression: Expression) -> str:
    return expression.with_constants(dict.fromkeys(expression.constants, 1.0)).text


def _structure(recipe: Recipe, choices: Choices) -> tuple[str, ...]:
    metric = ""
    if not ignores_metric(recipe):
        lone = lifted(recipe.metric)
        expression = expression_of(lone)
        # By its text: in a normal form, constants of the same names may have changed places.
        metric = _with_ones(expression) if expression else lone.digest
        if recipe.metric.kind == "program":
            metric = recipe.metric.source
    bare = Choices((), (), ())
    # Formulas that differ only in their numbers are one structure; so are repairs.
    words = dict.fromkeys(allocation_numbers(recipe.allocation, bare), 1.0)
    allocation = family(recipe.allocation)
    if words:
        allocation = with_allocation_numbers(recipe.allocation, words)
    ones = dict.fromkeys(repair_numbers(recipe.repair, choices), 0.01)
    return metric, recipe.group, allocation, with_repair_numbers(recipe.repair, ones)


def _with_values(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    written = {name: rounded(value) for name, value in values.items()}

    def of(part: str) -> dict[str, float]:
        return {n.partition(".")[2]: v for n, v in written.items() if n.startswith(f"{part}.")}

    metric, expression = recipe.metric, expression_of(recipe.metric)
    if expression is not None and of("metric"):
        metric = to_candidate(expression.with_constants(of("metric")))
    if recipe.metric.kind == "program":
        whole = whole_constants(metric.source)
        new = {n: float(round(v)) if n in whole else v for n, v in of("metric").items()}
        metric = replace(metric, params={**metric.params, **new})
    allocation = canonical_allocation(recipe.allocation)
    if of("allocation"):
        allocation = with_allocation_numbers(allocation, of("allocation"))
    repair = with_repair_numbers(recipe.repair, of("repair"))
    return replace(recipe, metric=metric, allocation=allocation, repair=repair)
