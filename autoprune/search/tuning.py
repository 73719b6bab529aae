"""The tune operator: constants of a recipe by Optuna, from results on record, without an LLM."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoprune.design.formulas import expression_of, to_candidate
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry

Ranges = dict[str, tuple[float, float]]
STARTUP_TRIALS = 3
PARAMETER = re.compile(r"([a-z_]+)=(-?[0-9.]+(?:e-?[0-9]+)?)")


def tunables(recipe: Recipe, allocation_ranges: Mapping[str, Mapping[str, Any]]) -> Ranges:
    """Ranges of everything numeric that a recipe declares.

    Formula constants are called ``metric.NAME`` and range over a factor of four both ways;
    allocation parameters ``allocation.NAME`` range as ``allocation_ranges`` says.
    """
    ranges: Ranges = {}
    expression = expression_of(recipe.metric) if recipe.metric.kind == "expression" else None
    for name, value in (expression.constants if expression else {}).items():
        low, high = sorted((value / 4, value * 4)) if value else (-1.0, 1.0)
        ranges[f"metric.{name}"] = (low, high)
    allocator = recipe.allocation.partition(":")[0]
    for name, (low, high) in allocation_ranges.get(allocator, {}).items():
        ranges[f"allocation.{name}"] = (low, high)
    return ranges


def suggest(recipe: Recipe, ranges: Ranges, measured: Sequence[Entry], seed: int) -> Recipe:
    """The next values to try, by a tree-structured Parzen estimator.

    Args:
        measured: Entries with results; those of the same structure teach the estimator.
        seed: Makes the suggestion repeatable.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {
        name: optuna.distributions.FloatDistribution(low, high)
        for name, (low, high) in ranges.items()
    }
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(sampler=sampler)
    for entry in measured:
        values = _values(recipe, entry, ranges)
        if values is not None and entry.change is not None:
            study.add_trial(
                optuna.trial.create_trial(
                    params=values, distributions=distributions, value=entry.change.mean
                )
            )
    return _with_values(recipe, study.ask(distributions).params)


def _values(recipe: Recipe, entry: Entry, ranges: Ranges) -> dict[str, float] | None:
    """The tunable values of an entry of the same structure; None for others."""
    other = entry.recipe
    if other is None or (other.group, other.solver) != (recipe.group, recipe.solver):
        return None
    if _structure(other) != _structure(recipe):
        return None
    expression = expression_of(other.metric)
    constants = expression.constants if expression else {}
    found = {f"metric.{name}": value for name, value in constants.items()}
    written = PARAMETER.findall(other.allocation)
    found |= {f"allocation.{name}": float(value) for name, value in written}
    inside = {
        name: found[name]
        for name, (low, high) in ranges.items()
        if name in found and low <= found[name] <= high
    }
    # A recipe at its allocator's defaults names no value and cannot teach.
    return inside if len(inside) == len(ranges) else None


def _structure(recipe: Recipe) -> tuple[str, str]:
    expression = expression_of(recipe.metric)
    metric = expression.structure if expression else recipe.metric.digest
    return metric, recipe.allocation.partition(":")[0]


def _with_values(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    rounded = {name: float(f"{value:.3g}") for name, value in values.items()}
    metric = recipe.metric
    expression = expression_of(metric)
    constants = {n.partition(".")[2]: v for n, v in rounded.items() if n.startswith("metric.")}
    if expression is not None and constants:
        metric = to_candidate(expression.with_constants(constants))
    allocation = recipe.allocation
    parts = {n.partition(".")[2]: v for n, v in rounded.items() if n.startswith("allocation.")}
    if parts:
        name = allocation.partition(":")[0]
        kept = [
            item
            for item in allocation.partition(":")[2].split(",")
            if item and item.partition("=")[0].strip() not in parts
        ]
        allocation = f"{name}:" + ",".join([*kept, *(f"{k}={v:g}" for k, v in parts.items())])
    return replace(recipe, metric=metric, allocation=allocation)
