"""Arms that the bandit chooses among: operators, those of a designer once for each model."""

from autoprune.search.spec import SearchSpec

DESIGN_OPERATORS = ("exploit", "seed", "combine", "explore", "simplify", "critique", "paradigm")
FREE_OPERATORS = ("tune", "extend", "mutate", "recombine", "ablate", "compose")
# Operator of all arms with a designer alone: it is asked for a whole recipe.
PROPOSE = "propose"
# Arms whose designer sees the graph, as it is or with shuffled results.
SHOWN_GRAPH = ("whole", "graph", "graph-permuted")
# Arms whose designer sees no real results after the starts: without feedback, and the placebo.
CONTROLS = ("best-of-n", "graph-permuted")
# The order in which operators are first tried, alternating with and without an LLM.
OPERATORS = (
    *("seed", "tune", "exploit", "extend", "explore", "mutate", "combine", "recombine"),
    *("simplify", "ablate", "critique", "compose", "paradigm"),
)


def arm_of(operator: str, model: str | None = None) -> str:
    """Name of an arm."""
    return operator if model is None else f"{operator} by {model}"


def models_of(spec: SearchSpec) -> tuple[str | None, ...]:
    """Models to choose among; a single model is None, since there is no choice."""
    designer = spec.designer
    return (designer.model, *designer.also_models) if designer.also_models else (None,)


def sources_of(spec: SearchSpec) -> dict[str, str]:
    """Source of each arm, in the order in which ties are tried.

    A source is a model, or the moves without one: results of one operator of a model say something
    about its other operators, and nothing about another model's.
    """
    found = {}
    for operator in OPERATORS:
        if operator in FREE_OPERATORS:
            found[arm_of(operator)] = "free"
            continue
        for model in models_of(spec):
            found[arm_of(operator, model)] = arm_of("designer", model)
    return found
