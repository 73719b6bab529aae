"""The effect of a recipe on a few real layers: enough to spot rediscoveries and bad ideas."""

from typing import TYPE_CHECKING

from torch import Tensor

from autoprune.masking import masks_digest
from autoprune.names import UNSTRUCTURED
from autoprune.pruning import PruningPlan, masks_from_scores
from autoprune.pruning.masks import dense_stats, equal_budgets

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench
    from autoprune.budget import Budget
    from autoprune.recipe import Recipe


def behaviour(
    bench: "Bench", recipe: "Recipe", budget: "Budget"
) -> tuple[str, float, dict[str, float]]:
    """Mask signature on the probe layers, and the relative output error in total and per layer.

    The error is ``sum ||dW x||^2 / sum ||W x||^2``. Inputs are treated as uncorrelated, so only
    their norms are needed.
    """
    layers = bench.probes
    plan = PruningPlan.build(
        budget.sparsity,
        group=recipe.group,
        pattern=budget.pattern or UNSTRUCTURED,
        seed=bench.seed,
    )
    score = bench.scorer.score(bench, recipe.metric, layers, 0)
    statistics = bench.calibrated(score.needs)
    masks = masks_from_scores(
        score, layers, equal_budgets(plan, layers), plan, dense_stats(statistics)
    )
    lost = whole = 0.0
    errors: dict[str, float] = {}
    for layer in layers:
        energy = _energy(layer.read(), statistics.of(layer.name)["x_norm"])
        total, gone = float(energy.sum()), float(energy[~masks[layer.name]].sum())
        whole += total
        lost += gone
        errors[f"{layer.projection} of block {layer.block}"] = _share(gone, total)
    return masks_digest(masks), _share(lost, whole), errors


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _energy(weight: Tensor, norm: Tensor) -> Tensor:
    return (weight.detach().float() * norm.to(weight.device)).square()
