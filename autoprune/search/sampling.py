"""The arm ``tuned``: Optuna's estimator over recipes as choices and numbers, nothing else.

A recipe of this space is ``abs(W)`` times powers of the values that formulas may use, a comparison
group, a family of budgets with its strength or a formula of two words, and a repair.
"""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autoprune.candidate import Candidate
from autoprune.design.formulas import to_candidate
from autoprune.design.parts import (
    FORMULA,
    FORMULA_RANGE,
    Choices,
    allocation_numbers,
    canonical_allocation,
    canonical_repair,
    family,
    repair_numbers,
    rounded,
    with_allocation_numbers,
    with_repair_numbers,
)
from autoprune.design.scheme_moves import (
    candidate_of,
    family_of,
    genes_of,
    scheme_from,
    values_of,
)
from autoprune.metrics.language import TERMINALS, parse
from autoprune.recipe import Recipe
from autoprune.schemes import build_scheme
from autoprune.search.moves import recipe_key
from autoprune.search.randomness import stream_seed
from autoprune.search.state import SearchState

if TYPE_CHECKING:
    import optuna

ATTEMPTS = 12
STARTUP_TRIALS = 8
# Powers of the values; a column of weights may count for or against.
POWERS = (-1.0, 2.0)
COLUMN = "col_norm(W)"
# The starts as points in this space.
KNOWN = {"magnitude": {}, "wanda": {"x_norm": 1.0}}


def sampled(state: SearchState, generation: int, slot: int) -> Iterator[Recipe]:
    """Yield suggestions from all whole measurements so far; some may be on record."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    choices = state.spec.choices
    seen = [e for e in state.archive.measured() if 2 in e.results and e.recipe is not None]
    for attempt in range(ATTEMPTS):
        seed = stream_seed(state.spec.seed, generation, slot, f"sample {attempt}")
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        study = optuna.create_study(sampler=sampler)
        for entry in sorted(seen, key=lambda entry: entry.order):
            recipe = entry.known_recipe
            values = state.sampled.get(recipe_key(recipe)) or _of_start(recipe, choices)
            if values is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fixed = optuna.trial.FixedTrial(values)
                    _recipe(fixed, choices)
                    study.add_trial(
                        optuna.trial.create_trial(
                            params=fixed.params,
                            distributions=fixed.distributions,
                            value=entry.score,
                        )
                    )
        trial = study.ask()
        recipe = _recipe(trial, choices)
        state.sampled[recipe_key(recipe)] = trial.params
        yield recipe


def _recipe(trial: "optuna.trial.BaseTrial", choices: Choices) -> Recipe:
    """Build a trial's recipe, with each choice and number suggested under its own name."""
    if choices.schemes:
        return _scheme_recipe(trial, choices)
    values = [name for name in choices.statistics if TERMINALS[name].nonnegative]
    factors = ["abs(W)"]
    for name in [*values, COLUMN]:
        power = rounded(trial.suggest_float(f"power of {name}", *POWERS))
        if power:
            factors.append(f"{name} ** {{{power:g}}}")
    metric: Candidate = to_candidate(parse(" * ".join(factors), terminals=("W", *values)))
    group = trial.suggest_categorical("group", list(choices.groups))
    name = trial.suggest_categorical("allocation", list(choices.allocations))
    if name == FORMULA:
        allocation = _formula(trial, choices)
    else:
        found = allocation_numbers(name, choices)
        numbers = {
            key: rounded(trial.suggest_float(f"{name} {key}", *span))
            for key, (_, span) in found.items()
        }
        allocation = with_allocation_numbers(name, numbers) if numbers else name
    repair = trial.suggest_categorical("repair", [canonical_repair(r) for r in choices.all_repairs])
    tunable = repair_numbers(repair, choices)
    moved = {
        key: rounded(trial.suggest_float(f"{repair} {key}", *span, log=span[0] > 0))
        for key, (_, span) in tunable.items()
    }
    repair = with_repair_numbers(repair, moved) if moved else repair
    return Recipe(metric, group, canonical_allocation(allocation), canonical_repair(repair))


def _scheme_recipe(trial: "optuna.trial.BaseTrial", choices: Choices) -> Recipe:
    family = trial.suggest_categorical("scheme", list(choices.schemes))
    values = {
        (part, key): trial.suggest_categorical(f"{part} {key}", list(allowed))
        for (part, key), allowed in genes_of(family).items()
    }
    repair = trial.suggest_categorical("repair", list(choices.repairs))
    return Recipe(candidate_of(scheme_from(family, values)), repair=canonical_repair(repair))


def _formula(trial: "optuna.trial.BaseTrial", choices: Choices) -> str:
    terms = []
    for place in ("first", "second"):
        word = trial.suggest_categorical(f"{place} word", list(choices.words))
        strength = rounded(
            trial.suggest_float(f"{place} strength", -FORMULA_RANGE[1], FORMULA_RANGE[1])
        )
        terms.append(f"{strength:g} * {word}")
    return f"{FORMULA}:{' + '.join(terms)}"


def _of_start(recipe: Recipe, choices: Choices) -> dict[str, Any] | None:
    """A hand-made recipe as values of this space; None if the space does not contain it."""
    import optuna

    values = _values_of(recipe, choices)
    if values is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = _recipe(optuna.trial.FixedTrial(values), choices)
    except ValueError:
        # This space lacks one of the choices.
        return None
    same = (canonical_allocation(recipe.allocation), canonical_repair(recipe.repair))
    return values if (made.allocation, made.repair) == same else None


def _values_of(recipe: Recipe, choices: Choices) -> dict[str, Any] | None:
    """Values of a recipe as far as this space names them; None if it lacks one of them."""
    if choices.schemes:
        scheme = build_scheme(recipe.metric.source)
        named = {f"{part} {key}": value for (part, key), value in values_of(scheme).items()}
        own = [text for text in choices.repairs if canonical_repair(text) == recipe.repair]
        return named | {"scheme": family_of(scheme), "repair": own[0]} if own else None
    powers = KNOWN.get(recipe.metric.source)
    name, repair = family(recipe.allocation), canonical_repair(recipe.repair)
    known = [canonical_repair(repair) for repair in choices.all_repairs]
    if powers is None or name not in choices.allocations or name == FORMULA or repair not in known:
        return None
    values = {value: powers.get(value, 0.0) for value in (*choices.statistics, COLUMN)}
    found: dict[str, Any] = {f"power of {value}": power for value, power in values.items()}
    found |= {"group": recipe.group, "allocation": name, "repair": repair}
    numbers = {
        f"{part} {key}": number
        for part, known in (
            (name, allocation_numbers(recipe.allocation, choices)),
            (repair, repair_numbers(repair, choices)),
        )
        for key, number in known.items()
    }
    if not all(low <= value <= high for value, (low, high) in numbers.values()):
        return None
    return found | {key: value for key, (value, _) in numbers.items()}
