"""Scores to a pruned model: budgets, masks, repair, applied in place."""

from autoprune.pruning.dense import DenseWeights
from autoprune.pruning.engine import BlockPruner, prune, repair_masks
from autoprune.pruning.layers import MasksThenRepair, NewWeights, repair_layer
from autoprune.pruning.masks import MetricScore, Score, layer_budgets, masks_from_scores
from autoprune.pruning.outcome import PruneFigures, PruneOutcome
from autoprune.pruning.plan import Precision, PruningPlan

__all__ = [
    "BlockPruner",
    "DenseWeights",
    "MasksThenRepair",
    "MetricScore",
    "NewWeights",
    "Precision",
    "PruneFigures",
    "PruneOutcome",
    "PruningPlan",
    "Score",
    "layer_budgets",
    "masks_from_scores",
    "prune",
    "repair_layer",
    "repair_masks",
]
