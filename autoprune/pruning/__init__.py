"""From scores to a pruned model: budgets, masks and repair, applied in place."""

from autoprune.pruning.dense import DenseWeights
from autoprune.pruning.engine import BlockPruner, prune, repair_masks
from autoprune.pruning.layers import (
    Maker,
    MasksThenRepair,
    NewBlocks,
    NewWeights,
    SeenBlock,
    repair_layer,
)
from autoprune.pruning.masks import MetricScore, Score, layer_budgets, masks_from_scores
from autoprune.pruning.masters import Master, masters_of, vectors_of
from autoprune.pruning.outcome import PruneFigures, PruneOutcome
from autoprune.pruning.plan import Precision, PruningPlan
from autoprune.pruning.products import products_class
from autoprune.pruning.recovery import movable, recover
from autoprune.pruning.stretches import sharing, tune_stretches
from autoprune.pruning.teacher import Teacher, teach

__all__ = [
    "BlockPruner",
    "DenseWeights",
    "Maker",
    "MasksThenRepair",
    "Master",
    "MetricScore",
    "NewBlocks",
    "NewWeights",
    "Precision",
    "PruneFigures",
    "PruneOutcome",
    "PruningPlan",
    "Score",
    "SeenBlock",
    "Teacher",
    "layer_budgets",
    "masks_from_scores",
    "masters_of",
    "movable",
    "products_class",
    "prune",
    "recover",
    "repair_layer",
    "repair_masks",
    "sharing",
    "teach",
    "tune_stretches",
    "vectors_of",
]
