"""What a recipe does to a few real layers: enough to recognise a rediscovery and a bad idea."""

from typing import TYPE_CHECKING

from autoprune.recipe import Recipe
from tasks.search_bench import SearchBench

if TYPE_CHECKING:
    from torch import Tensor


def behaviour(bench: SearchBench, recipe: Recipe) -> tuple[str, float]:
    """Mask signature on the probe layers, and the relative output error there.

    The error is ``sum ||dW x||^2 / sum ||W x||^2`` with the inputs taken as uncorrelated, so only
    their norms are needed.

    Args:
        bench: The search's workbench; its weights are dense.
        recipe: What to try; its allocation is left out, since a few layers have no budget to share.

    Raises:
        CandidateRejectedError: If the sandbox turns the metric away.
        UsageError: If the scores make no sense.
    """
    import torch

    from autoprune.masking import layer_quotas, masks_digest, nm_quotas
    from autoprune.pruning import PruningPlan, masks_from_scores
    from tasks.scoring import score_function

    layers = bench.probes
    plan = PruningPlan.build(
        bench.spec.sparsity, group=recipe.group, pattern=bench.spec.pattern, seed=bench.seed
    )
    numels = {layer.name: layer.numel for layer in layers}
    rates = dict.fromkeys(numels, plan.sparsity)
    quotas = (
        layer_quotas(rates, numels, plan.sparsity)
        if plan.pattern is None
        else nm_quotas(numels, plan.pattern)
    )
    score = score_function(bench, recipe.metric, layers)
    masks = masks_from_scores(score, layers, quotas, plan)
    statistics = bench.calibrated(())
    lost = torch.zeros(())
    whole = torch.zeros(())
    for layer in layers:
        energy = _energy(layer.read(), statistics.of(layer.name)["x_norm"])
        whole += energy.sum()
        lost += energy[~masks[layer.name]].sum()
    return masks_digest(masks), float(lost / whole) if float(whole) else 0.0


def _energy(weight: "Tensor", norm: "Tensor") -> "Tensor":
    return (weight.detach().float() * norm).square()
