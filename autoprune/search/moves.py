"""Changes to whole recipes without an LLM: mutate any part, cross, recombine, invent."""

from dataclasses import replace
from random import Random

from autoprune.allocation.selection import UNIFORM
from autoprune.candidate import Candidate
from autoprune.design.formulas import (
    crossed,
    expression_of,
    invented,
    mutated,
    text_key,
)
from autoprune.design.parts import (
    Choices,
    canonical_allocation,
    canonical_repair,
    family,
    ignores_metric,
    mutated_allocation,
    program_fault,
    random_allocation,
)
from autoprune.design.scheme_moves import crossed_schemes, mutated_scheme, random_scheme
from autoprune.recipe import Recipe

# How often each part changes: those that move perplexity most are tried most.
PARTS = ("metric", "allocation", "repair", "group")
WEIGHTS = (0.4, 0.4, 0.12, 0.08)


def recipe_key(recipe: Recipe) -> str:
    """Key that is equal for recipes that differ only in notation or in a metric without effect."""
    masks = mask_key(recipe)
    if ignores_metric(recipe):
        masks = canonical_allocation(recipe.allocation)
    return "\n".join((masks, canonical_repair(recipe.repair)))


def mask_key(recipe: Recipe) -> str:
    """Key that is equal for recipes that differ only in notation and repair."""
    metric = text_key(recipe.metric)
    return "\n".join((metric, recipe.group, canonical_allocation(recipe.allocation)))


def recipe_text(recipe: Recipe, formula: str) -> str:
    """A recipe on one line: metric, group, allocation, repair; a scheme and its repair."""
    scheme = recipe.metric.kind == "scheme"
    parts = [formula] if scheme else [formula, recipe.group, recipe.allocation]
    return " | ".join(parts if recipe.repair == "none" else [*parts, recipe.repair])


def take(recipe: Recipe, taken: set[str]) -> bool:
    """Add a recipe to those on record."""
    key = recipe_key(recipe)
    is_program = recipe.metric.kind == "program"
    if key in taken or (is_program and program_fault(recipe.group, recipe.repair)):
        return False
    if recipe.group == "global" and family(recipe.allocation) != UNIFORM:
        return False
    taken.add(key)
    return True


def mutated_recipe(recipe: Recipe, rng: Random, choices: Choices) -> Recipe:
    """Change one part; the same recipe if that part has no other value."""
    part = rng.choices(PARTS, WEIGHTS)[0]
    if choices.schemes and part != "repair":
        part = "metric"
    if part == "metric":
        return mutated_metric(recipe, rng, choices)
    if part == "allocation":
        return replace(recipe, allocation=mutated_allocation(recipe.allocation, rng, choices))
    if part == "repair":
        others = [text for text in choices.all_repairs if text != recipe.repair]
        return replace(recipe, repair=rng.choice(others)) if others else recipe
    groups = [group for group in choices.groups if group != recipe.group]
    return replace(recipe, group=rng.choice(groups)) if groups else recipe


def mutated_metric(recipe: Recipe, rng: Random, choices: Choices) -> Recipe:
    """Mutate the formula, or draw one if the metric is not a formula; keep the other parts."""
    if choices.schemes:
        return replace(recipe, metric=mutated_scheme(recipe.metric, rng, choices))
    metric = mutated(recipe.metric, rng, choices.statistics)
    metric = metric or invented(rng, choices.statistics)
    return Recipe(metric, recipe.group, recipe.allocation, recipe.repair)


def crossed_recipe(first: Recipe, second: Recipe, rng: Random) -> Recipe:
    """Take each part from one parent or the other; two formulas may also exchange a subtree."""
    if first.metric.kind == "scheme":
        scheme = crossed_schemes(first.metric, second.metric, rng)
        return replace(first, metric=scheme, repair=rng.choice((first, second)).repair)
    metric: Candidate = rng.choice((first, second)).metric
    both = expression_of(first.metric) and expression_of(second.metric)
    if both and rng.random() < 0.5:
        metric = crossed(first.metric, second.metric, rng) or metric
    return Recipe(
        metric,
        rng.choice((first, second)).group,
        rng.choice((first, second)).allocation,
        rng.choice((first, second)).repair,
    )


def recombined(first: Recipe, second: Recipe) -> Recipe:
    """Combine metric and group of the first with the second's other parts."""
    return Recipe(first.metric, first.group, second.allocation, second.repair)


def random_recipe(rng: Random, choices: Choices) -> Recipe:
    """Draw every part at random."""
    return Recipe(
        random_scheme(rng, choices) if choices.schemes else invented(rng, choices.statistics),
        rng.choice(list(choices.groups)),
        random_allocation(rng, choices),
        rng.choice(choices.all_repairs),
    )
