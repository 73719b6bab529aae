"""What the bandit chooses among: operators, those of a designer once for each of its models."""

from autoprune.search.spec import SearchSpec

DESIGN_OPERATORS = ("exploit", "seed", "combine", "explore", "simplify", "critique", "paradigm")
FREE_OPERATORS = ("tune", "extend", "mutate", "recombine", "ablate", "compose")
# What a designer alone is asked: a whole recipe, in each of its arms.
PROPOSE = "propose"
# Arms whose designer sees the graph, its own or one with shuffled results.
SHOWN_GRAPH = ("whole", "graph", "graph-permuted")
# Arms whose designer is not shown real results since the starts: without feedback, and the placebo.
CONTROLS = ("best-of-n", "graph-permuted")
# The order in which operators are tried first: with and without an LLM in turn.
OPERATORS = (
    *("seed", "tune", "exploit", "extend", "explore", "mutate", "combine", "recombine"),
    *("simplify", "ablate", "critique", "compose", "paradigm"),
)


def arm_of(operator: str, model: str | None = None) -> str:
    """Name of an arm.

    Args:
        operator: What is done.
        model: Who is asked; None: nobody, or the only model.
    """
    return operator if model is None else f"{operator} by {model}"


def models_of(spec: SearchSpec) -> tuple[str | None, ...]:
    """Models that are chosen among; the only one has no name here, since none is chosen."""
    designer = spec.designer
    return (designer.model, *designer.also_models) if designer.also_models else (None,)


def sources_of(spec: SearchSpec) -> dict[str, str]:
    """Source of each arm, in the order in which equals are tried.

    A source is a model, or the moves without one: what is known of one operator of a model says
    something of its others, and nothing of another model's.
    """
    found = {}
    for operator in OPERATORS:
        if operator in FREE_OPERATORS:
            found[arm_of(operator)] = "free"
            continue
        for model in models_of(spec):
            found[arm_of(operator, model)] = arm_of("designer", model)
    return found
