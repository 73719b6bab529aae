"""The hand-made catalogue in a fixed order: what a person would try without looking at results."""

from collections.abc import Iterator

from autoprune.candidate import Candidate
from autoprune.design.parts import FORMULA, Choices, canonical_repair
from autoprune.design.scheme_moves import all_schemes
from autoprune.recipe import Recipe

# Published metrics first, then powers of the values Wanda multiplies, then of those it leaves out.
METRICS = (
    "wanda",
    "ria",
    "magnitude",
    "expr:abs(W) * x_norm ** 0.5",
    "expr:abs(W) * x_norm ** 2",
    "expr:abs(W) * x_norm / col_norm(W) ** 0.5",
    "expr:abs(W) * x_norm * col_norm(W) ** 0.5",
    "expr:abs(W) * x_norm ** 0.5 * x_max ** 0.5",
    "expr:sq(W) * x_var",
    "expr:abs(W) * x_norm ** 0.75",
    "expr:abs(W) * x_norm ** 1.5",
    "expr:abs(W) * x_max",
)


def catalogue(choices: Choices) -> Iterator[Recipe]:
    """Yield every metric of :data:`METRICS` with every allocation and every repair, by row.

    Repairs change fastest and metrics slowest. Allocations have default values, without formulas.
    """
    if choices.schemes:
        repairs = [canonical_repair(text) for text in choices.repairs]
        for scheme in all_schemes(choices.schemes):
            yield from (Recipe(scheme, repair=repair) for repair in repairs)
        return
    for metric in METRICS:
        for allocation in choices.allocations:
            if allocation == FORMULA:
                continue
            for repair in choices.repairs:
                yield Recipe(Candidate.parse(metric), "row", allocation, repair)
