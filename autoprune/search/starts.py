"""Recipes that a search measures before the first design."""

from pydantic import Field

from autoprune.allocation.selection import UNIFORM
from autoprune.bench.smaller import Shrinking
from autoprune.candidate import SCHEME_PREFIX, Candidate, Group
from autoprune.errors import UsageError
from autoprune.recipe import Recipe
from autoprune.recipe_text import read_recipe
from autoprune.search.recorded import Recorded


class RecipeSpec(Recorded):
    """A hand-made recipe that is measured before the first design.

    Args:
        metric: Registry name, or ``expr:`` followed by an expression.
    """

    metric: str
    group: Group = "row"
    allocation: str = UNIFORM
    repair: str | None = Field(default=None, description="None: that of the search")
    source: str = Field(default="", description="text of a program, as it was when it was given")

    def recipe(self, default: str) -> Recipe:
        """Return the recipe, with the repair ``default`` if none is named."""
        chosen = self.repair if self.repair is not None else default
        own = Candidate.parse(self.metric, self.source)
        return Recipe(own, self.group, self.allocation, chosen)


def given_start(text: str) -> RecipeSpec:
    """Parse a start from a line ``METRIC+PART+...``."""
    if Shrinking.names(text):
        how = Shrinking.parse(text)
        return RecipeSpec(metric=f"{SCHEME_PREFIX}{how.scheme.text}", repair=how.repair.text)
    found = read_recipe(text)
    if found.statistics != "dense" and not found.source:
        raise UsageError(
            f"the start {text!r} is scored block by block, and a search scores all layers by the "
            f"dense model; leave out {found.statistics}"
        )
    return RecipeSpec(
        metric=found.metric,
        group=found.group,
        allocation=found.allocation,
        repair=found.repair,
        source=found.source,
    )


# Magnitude compares inside a whole matrix and Wanda inside a row, as in the Wanda paper
# (arXiv 2306.11695, section 3); sdsa and ramp show what the allocation alone is worth.
BASELINES = (
    RecipeSpec(metric="magnitude", group="matrix"),
    RecipeSpec(metric="wanda"),
    RecipeSpec(metric="ria"),
    RecipeSpec(metric="wanda", allocation="sdsa"),
    RecipeSpec(metric="wanda", allocation="ramp"),
    RecipeSpec(metric="wanda", allocation="ramp", repair="sparsegpt"),
)
