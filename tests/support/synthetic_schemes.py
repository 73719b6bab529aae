"""A model of which some values of a scheme's parameters take less away than others."""

from autoprune.design.scheme_moves import values_of
from autoprune.digest import digest_json
from autoprune.recipe import Recipe
from autoprune.schemes import build_scheme
from autoprune.search.steps import Measurement, Validation
from tests.support.synthetic import Synthetic

BEST = {
    ("depth", "criterion"): "influence",
    ("depth", "protect"): "1-1",
    ("width", "score"): "flap",
}


class Shapes(Synthetic):
    """A model of which some values of a scheme's parameters take less away than others."""

    def validate(self, recipe: Recipe) -> Validation:
        return Validation(True, seconds=0.1)

    def measure(
        self, recipe: Recipe | None, windows: int, sparsity: float, split: str
    ) -> Measurement:
        if recipe is None or recipe.metric.kind != "scheme":
            assert recipe is None
            return super().measure(None, windows, sparsity, split)  # type: ignore[return-value]
        scheme = build_scheme(recipe.metric.source)
        found = values_of(scheme)
        loss = 3.0 - 0.1 * sum(found.get(gene) == value for gene, value in BEST.items())
        # Rates are worth as much as their text is long.
        loss -= 0.001 * len(found.get(("width", "rates"), ""))
        loss -= 0.2 * (recipe.repair != "none")
        nll = tuple(loss + 0.01 * w for w in range(windows))
        digest = digest_json(scheme.text)
        return Measurement(nll, 9 * windows, 20.0, mask_digest=digest, sparsity=sparsity)
