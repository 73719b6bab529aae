"""Features of a recipe for a regression on past results: a few named numbers.

The share of zeros is the same for all recipes of one search, so it is not a feature. The distance
of a recipe from measured ones widens the spread of its forecast, see :mod:`regression`.
"""

import math
import re

from autoprune.allocation import build_allocator
from autoprune.allocation.formula import DESCRIPTORS
from autoprune.design.formulas import expression_of
from autoprune.design.parts import canonical_allocation, canonical_repair, chain, family
from autoprune.metrics.language.nodes import Call, Terminal, walk
from autoprune.recipe import Recipe
from autoprune.search.regression import Features

# Numbers of an allocation are shares of zeros; this factor scales the usual ones to about 1.
STRENGTH_SCALE = 5.0
# Depth and size of a formula at which they count as much as a word.
USUAL_DEPTH, USUAL_SIZE = 5.0, 20.0


def features_of(recipe: Recipe, error: float | None = None) -> Features:
    """Features of a recipe: words of its metric, its depth, group, allocation, parts of its repair.

    Args:
        recipe: Recipe to describe.
        error: Output error of its masks on a few real layers over the reference's; of a program,
            its error of three blocks over that of the first program; None: unknown.
    """
    found = {f"group {recipe.group}": 1.0}
    found |= _of_metric(recipe)
    allocation = canonical_allocation(recipe.allocation)
    name = family(allocation)
    found[f"allocation {name}"] = 1.0
    words = re.findall(r"[a-z]\w*", allocation.partition(":")[2])
    found |= {f"allocation of {word}": 1.0 for word in words if word in DESCRIPTORS}
    for key, value in build_allocator(recipe.allocation).params.items():
        if isinstance(value, float):
            found[f"allocation {name} {key}"] = STRENGTH_SCALE * value
    repair = canonical_repair(recipe.repair)
    found |= {f"repair {part}": 1.0 for part in re.split(r"[+:]", chain(repair))}
    if "select=own" in repair:
        found["repair selects"] = 1.0
    if error is not None and error > 0.0:
        # Masks and programs have errors of different kinds.
        kind = "error of blocks" if recipe.metric.kind == "program" else "error"
        found[kind] = max(-2.0, min(2.0, math.log(error)))
    return found


def _of_metric(recipe: Recipe) -> dict[str, float]:
    metric = recipe.metric
    expression = expression_of(metric)
    if expression is None:
        words = {metric.source} if metric.kind == "builtin" else _calls(metric.source)
        if metric.kind == "scheme":
            words = set(re.split(r"[+:,]", metric.source))
        return {f"kind {metric.kind}": 1.0, **{f"word {word}": 1.0 for word in sorted(words)}}
    nodes = list(walk(expression.tree))
    named = {node.name for _, node in nodes if isinstance(node, Call | Terminal)} - {"W"}
    found = {f"word {word}": 1.0 for word in sorted(named)}
    found["depth"] = max(len(path) for path, _ in nodes) / USUAL_DEPTH
    found["size"] = len(nodes) / USUAL_SIZE
    return found


def _calls(source: str) -> set[str]:
    """Names that code calls."""
    return set(re.findall(r"([A-Za-z_]\w*)\s*\(", source))
