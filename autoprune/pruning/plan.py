"""What to do with the scores, and which statistics they come from."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from autoprune.allocation import Allocator, Uniform, build_allocator
from autoprune.candidate import Group, Scoring
from autoprune.errors import UsageError
from autoprune.masking import NM, parse_pattern, resolve_sparsity
from autoprune.recipe import Recipe
from autoprune.renamed import renamed
from autoprune.repair import Repair
from autoprune.statistics.statistics import GRADIENT

# Rounding of products in training: ``auto`` uses what is fast on this processor.
Precision = Literal["auto", "float32"]


@dataclass(frozen=True)
class PruningPlan:
    """What to do with the scores.

    Args:
        sparsity: Share of all prunable weights to zero, 0 ≤ s < 1.
        group: Weights that compete with each other.
        pattern: N:M pattern; None is unstructured.
        allocation: Layer budgets.
        repair: Repair of the remaining weights.
        seed: Seed for random controls.
        saved: Type that the weights will be saved in, for the guarantee that no row is worse than
            with plain zeroing; None: their type in memory.
        scoring: Which statistics the scores come from. ``dense``: one pass of the dense model
            serves all layers and any number of candidates. ``sequential``: each block sees the
            activations of the blocks already pruned, and is repaired before the next is scored.
            ``true-sequential``: also in steps inside each block, one per distinct input in
            execution order (q, k, v; then o; then gate, up; then down; all experts' gate and up
            in one), each seeing the earlier steps, as in SparseGPT (arXiv 2301.00774). Costs one
            forward pass per step.
        precision: ``float32`` prevents block tuning and recovery from rounding their products, so
            that results do not depend on the processor's features.
    """

    sparsity: float
    group: Group = "row"
    pattern: NM | None = None
    allocation: Allocator = field(default_factory=Uniform)
    repair: Repair = field(default_factory=Repair)
    seed: int = 0
    saved: torch.dtype | None = None
    scoring: Scoring = "dense"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        resolve_sparsity(self.sparsity, self.pattern)
        if isinstance(self.allocation, Uniform):
            return
        if self.pattern is not None:
            raise UsageError(
                f"pattern {self.pattern} fixes the zeros of every layer, so allocation "
                f"{self.allocation.text!r} can change nothing; use uniform, or no pattern"
            )
        if self.group == "global":
            raise UsageError(
                "in the comparison group 'global' the scores alone decide the zeros of every "
                f"layer, so allocation {self.allocation.text!r} can change nothing; use uniform, "
                "or compare within 'block', 'matrix' or 'row'"
            )

    @classmethod
    @renamed(solver="repair")
    def build(
        cls,
        sparsity: float | None,
        *,
        group: Group = "row",
        pattern: str = "unstructured",
        allocation: str = "uniform",
        repair: str = "none",
        seed: int = 0,
        scoring: Scoring = "dense",
        precision: Precision = "auto",
    ) -> "PruningPlan":
        """Build the plan from texts; ``sparsity`` may be None with an N:M pattern."""
        nm = parse_pattern(pattern)
        return cls(
            resolve_sparsity(sparsity, nm),
            group,
            nm,
            build_allocator(allocation),
            Repair.parse(repair),
            seed,
            scoring=scoring,
            precision=precision,
        )

    @classmethod
    def of_recipe(
        cls,
        recipe: Recipe,
        sparsity: float | None,
        *,
        pattern: str = "unstructured",
        seed: int = 0,
        precision: Precision = "auto",
    ) -> "PruningPlan":
        """Build the plan of a recipe, leaving its metric to the caller."""
        return cls.build(
            sparsity,
            group=recipe.group,
            pattern=pattern,
            allocation=recipe.allocation,
            repair=recipe.repair,
            seed=seed,
            scoring=recipe.scoring,
            precision=precision,
        )

    @property
    def runs_blocks(self) -> bool:
        """Whether the model runs block by block, which requires the model and text."""
        return self.scoring != "dense" or self.repair.walks

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of the dense model that allocation and repair read."""
        own = frozenset[str]() if self.runs_blocks else self.repair.needs
        return self.allocation.needs | own

    @property
    def reads_text(self) -> bool:
        """Whether calibration windows are needed even if no statistics are."""
        return self.runs_blocks or self.repair.fresh_windows > 0

    def uses_text(self, scored: frozenset[str]) -> bool:
        """Whether calibration text is read at all."""
        return self.reads_text or bool(self.dense_needs(scored))

    def dense_needs(self, scored: frozenset[str]) -> frozenset[str]:
        """All statistics of the dense model that pruning reads."""
        return self.needs | (scored if self.scoring == "dense" else scored & {GRADIENT})

    def refuse_unseen(self) -> None:
        """Refuse to compare weights that are never available together."""
        if self.scoring == "dense":
            return
        if self.pattern is None and self.group == "global":
            raise UsageError(
                "comparison group 'global' needs the scores of the whole model at once; "
                "prune one-shot, or compare within 'block', 'matrix' or 'row'"
            )
        if self.scoring == "true-sequential" and self.group == "block":
            raise UsageError(
                "comparison group 'block' compares all matrices of a block at once, and "
                "true-sequential prunes them in steps; take the group matrix or row, or sequential"
            )
