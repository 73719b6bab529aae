"""The tune operator: all numbers of a recipe at once by Optuna, from results on record."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoprune.design.formulas import expression_of, lifted, to_candidate
from autoprune.design.parts import (
    Choices,
    Range,
    allocation_numbers,
    canonical_allocation,
    family,
    solver_numbers,
    with_allocation_numbers,
    with_solver_numbers,
)
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry

Ranges = dict[str, Range]
STARTUP_TRIALS = 4
# A suggestion stays within this share of a range around the value that is known to be good.
REACH = 0.3


def tunable_form(recipe: Recipe) -> Recipe:
    """The recipe with an exponent to tune, where its formula has no constants; same masks."""
    return replace(recipe, metric=lifted(recipe.metric))


def numbers(recipe: Recipe, choices: Choices) -> dict[str, tuple[float, Range]]:
    """Everything numeric that a recipe declares, with its range, as ``PART.NAME``.

    Formula constants range over a factor of four both ways, the rest as ``choices`` says.
    """
    found: dict[str, tuple[float, Range]] = {}
    expression = expression_of(recipe.metric) if recipe.metric.kind == "expression" else None
    for name, value in (expression.constants if expression else {}).items():
        low, high = sorted((value / 4, value * 4)) if value else (-1.0, 1.0)
        found[f"metric.{name}"] = (value, (low, high))
    for name, known in allocation_numbers(recipe.allocation, choices).items():
        found[f"allocation.{name}"] = known
    for name, known in solver_numbers(recipe.solver, choices).items():
        found[f"solver.{name}"] = known
    return found


def suggest(
    recipe: Recipe, choices: Choices, known: Sequence[tuple[Entry, float]], seed: int
) -> Recipe:
    """The next values to try, by a tree-structured Parzen estimator around the recipe's own.

    Args:
        recipe: The best of its structure; see :func:`tunable_form`.
        choices: Ranges.
        known: Entries and what they lose, in nats per token; those of the recipe's structure
            teach the estimator.
        seed: Makes the suggestion repeatable.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    own = numbers(recipe, choices)
    ranges = {name: _near(value, span) for name, (value, span) in own.items()}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high)
        for name, (low, high) in ranges.items()
    }
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


def _near(value: float, span: Range) -> Range:
    low, high = span
    reach = REACH * (high - low)
    return max(low, min(value, high) - reach), min(high, max(value, low) + reach)


def _values(
    recipe: Recipe, entry: Entry, ranges: Ranges, choices: Choices
) -> dict[str, float] | None:
    """The tunable values of an entry of the same structure; None for others."""
    other = entry.recipe
    if other is None or _structure(other, choices) != _structure(recipe, choices):
        return None
    found = {name: value for name, (value, _) in numbers(tunable_form(other), choices).items()}
    if found.keys() != ranges.keys():
        return None
    inside = all(low <= found[name] <= high for name, (low, high) in ranges.items())
    return found if inside else None


def _structure(recipe: Recipe, choices: Choices) -> tuple[str, ...]:
    form = tunable_form(recipe)
    expression = expression_of(form.metric)
    metric = expression.structure if expression else form.metric.digest
    bare = Choices((), (), ())
    # Formulas that differ in their numbers only are one structure; so are repairs.
    words = dict.fromkeys(allocation_numbers(recipe.allocation, bare), 1.0)
    allocation = family(recipe.allocation)
    if words:
        allocation = with_allocation_numbers(recipe.allocation, words)
    ones = dict.fromkeys(solver_numbers(recipe.solver, choices), 0.01)
    return metric, recipe.group, allocation, with_solver_numbers(recipe.solver, ones)


def _with_values(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    rounded = {name: float(f"{value:.3g}") for name, value in values.items()}

    def of(part: str) -> dict[str, float]:
        return {n.partition(".")[2]: v for n, v in rounded.items() if n.startswith(f"{part}.")}

    metric, expression = recipe.metric, expression_of(recipe.metric)
    if expression is not None and of("metric"):
        metric = to_candidate(expression.with_constants(of("metric")))
    allocation = canonical_allocation(recipe.allocation)
    if of("allocation"):
        allocation = with_allocation_numbers(allocation, of("allocation"))
    solver = with_solver_numbers(recipe.solver, of("solver"))
    return replace(recipe, metric=metric, allocation=allocation, solver=solver)
