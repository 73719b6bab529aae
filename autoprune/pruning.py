"""Scores to a pruned model: budgets, masks, repair, applied in place.

One-shot: every score comes from statistics of the dense model, so one calibration pass serves any
number of candidates. :mod:`autoprune.sequential` prunes block by block instead.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from autoprune.allocation import Allocator, ModelContext, Uniform, allocate, build_allocator
from autoprune.calibration.statistics import Statistics
from autoprune.errors import UsageError
from autoprune.masking import (
    NM,
    layer_quotas,
    masks_digest,
    nm_quotas,
    parse_pattern,
    resolve_sparsity,
    select_masks,
)
from autoprune.metrics.metric import Metric, layer_scores
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent
from autoprune.recipe import Group, Recipe
from autoprune.repair import Repair

Score = Callable[[PrunableLinear], Tensor]


@dataclass(frozen=True)
class PruningPlan:
    """What to do with the scores.

    Args:
        sparsity: Share of all prunable weights to zero, 0 ≤ s < 1.
        group: Weights that compete with each other.
        pattern: N:M pattern; None is unstructured.
        allocation: Layer budgets.
        repair: Of the weights that stay.
        seed: Seed of random controls.
        saved: Type that the weights will be saved in, for the promise that no row is worse than
            zeroed plainly; None is the type that they have in memory.
        precision: ``float32`` keeps a block's tuning from rounding its products, so that what comes
            out does not depend on what the processor has.
    """

    sparsity: float
    group: Group = "row"
    pattern: NM | None = None
    allocation: Allocator = field(default_factory=Uniform)
    repair: Repair = field(default_factory=Repair)
    seed: int = 0
    saved: torch.dtype | None = None
    precision: Literal["auto", "float32"] = "auto"

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
    def build(
        cls,
        sparsity: float | None,
        *,
        group: Group = "row",
        pattern: str = "unstructured",
        allocation: str = "uniform",
        solver: str = "none",
        seed: int = 0,
        precision: Literal["auto", "float32"] = "auto",
    ) -> "PruningPlan":
        """The plan from texts; ``sparsity`` may be None with an N:M pattern.

        Raises:
            UsageError: If any part is wrong or two parts contradict each other.
        """
        nm = parse_pattern(pattern)
        return cls(
            resolve_sparsity(sparsity, nm),
            group,
            nm,
            build_allocator(allocation),
            Repair.parse(solver),
            seed,
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
    ) -> "PruningPlan":
        """The plan of a recipe; its metric is the caller's business."""
        return cls.build(
            sparsity,
            group=recipe.group,
            pattern=pattern,
            allocation=recipe.allocation,
            solver=recipe.solver,
            seed=seed,
        )

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of the dense model that allocation and repair read; a walk has its own."""
        own = frozenset[str]() if self.repair.walks else self.repair.needs
        return self.allocation.needs | own


@dataclass(frozen=True, kw_only=True)
class PruneFigures:
    """What any way of pruning reports.

    Args:
        layer_sparsity: Share of zeros per layer.
        zeros: Pruned weights.
        prunable: All prunable weights.
        mask_digest: SHA-256 that names the masks.
        seconds: Wall-clock time.
        notes: Fallbacks that happened, each with its layer.
    """

    layer_sparsity: Mapping[str, float]
    zeros: int
    prunable: int
    mask_digest: str
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of pruned weights among the prunable ones."""
        return self.zeros / self.prunable if self.prunable else 0.0


@dataclass(frozen=True, kw_only=True)
class PruneOutcome(PruneFigures):
    """Masks of a model in memory and their figures.

    Args:
        keep: Mask per layer, bool [o, i].
    """

    keep: Mapping[str, Tensor]

    @classmethod
    def of_masks(
        cls, keep: Mapping[str, Tensor], seconds: float, notes: Sequence[str] = ()
    ) -> "PruneOutcome":
        """Count the masks and name them."""
        zeros = {name: mask.numel() - int(mask.sum()) for name, mask in keep.items()}
        return cls(
            keep=keep,
            layer_sparsity={name: zeros[name] / mask.numel() for name, mask in keep.items()},
            zeros=sum(zeros.values()),
            prunable=sum(mask.numel() for mask in keep.values()),
            mask_digest=masks_digest(keep),
            seconds=seconds,
            notes=tuple(notes),
        )


class DenseWeights:
    """A copy of the prunable weights, so that a search can prune, measure and restore.

    As a context manager it restores on the way out, whatever happened inside.

    Args:
        layers: The layers to remember.
    """

    def __init__(self, layers: Sequence[PrunableLinear]) -> None:
        self._layers = list(layers)
        self._copies = [layer.read().clone() for layer in self._layers]

    def restore(self) -> None:
        """Write every weight back, bit by bit."""
        for layer, copy in zip(self._layers, self._copies, strict=True):
            layer.write(copy)

    def __enter__(self) -> "DenseWeights":
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


def metric_scores(metric: Metric, statistics: Statistics | None) -> Score:
    """Scores of a built-in metric or expression from stored statistics."""

    def score(layer: PrunableLinear) -> Tensor:
        weight = layer.read()
        stats = statistics.of(layer.name) if statistics is not None else {}
        return layer_scores(metric, layer.name, weight, beside(weight, stats, metric.needs))

    return score


def beside(weight: Tensor, stats: Mapping[str, Tensor], needs: frozenset[str]) -> dict[str, Tensor]:
    """The needed statistics on the weight's device; those that are missing stay missing."""
    return {name: stats[name].to(weight.device) for name in needs if name in stats}


def layer_budgets(plan: PruningPlan, context: ModelContext) -> dict[str, int]:
    """Zeros per layer, summing to the plan's share of all prunable weights exactly.

    Raises:
        UsageError: If N:M does not divide a layer.
    """
    numels = {layer.name: layer.numel for layer in context.layers}
    if plan.pattern is not None:
        return nm_quotas(numels, plan.pattern)
    return layer_quotas(allocate(plan.allocation, context, plan.sparsity), numels, plan.sparsity)


def masks_from_scores(
    score: Score,
    layers: Sequence[PrunableLinear],
    quotas: Mapping[str, int],
    plan: PruningPlan,
    *,
    report: Report = silent,
) -> dict[str, Tensor]:
    """Masks for all layers; scores are asked for one comparison group at a time.

    Args:
        score: Scores of a layer, [o, i], larger means keep.
        layers: Prunable layers in model order.
        quotas: Zeros per layer.
        plan: Comparison group and pattern.
        report: Told after every group.

    Returns:
        Keep mask per layer, bool [o, i].

    Raises:
        UsageError: If scores have the wrong shape or hold NaN.
    """
    masks: dict[str, Tensor] = {}
    for members in _comparison_groups(layers, plan):
        scores = {layer.name: checked_scores(layer, score(layer)) for layer in members}
        blocks = {layer.name: layer.block for layer in members}
        own = {name: quotas[name] for name in scores}
        masks.update(select_masks(scores, own, plan.group, plan.pattern, blocks))
        report(Progress("masks", len(masks), len(layers)))
    return masks


def checked_scores(layer: PrunableLinear, scores: Tensor) -> Tensor:
    """The scores, refused when their shape is not the layer's.

    Raises:
        UsageError: If the shapes differ; names the layer and both shapes.
    """
    if tuple(scores.shape) != tuple(layer.shape):
        raise UsageError(
            f"scores for {layer.name} have shape {list(scores.shape)}, its weight has "
            f"{list(layer.shape)}; a metric must return one number per weight"
        )
    return scores


def prune_one_shot(
    layers: Sequence[PrunableLinear],
    score: Score,
    plan: PruningPlan,
    *,
    statistics: Statistics | None = None,
    context: ModelContext | None = None,
    report: Report = silent,
) -> PruneOutcome:
    """Prune in place from scores of the dense model.

    Args:
        layers: Prunable layers in model order, dense.
        score: Scores of a layer, [o, i], larger means keep; asked once per layer.
        plan: Budget, group, allocation and repair.
        statistics: Statistics that ``plan.needs`` names.
        context: Context of an earlier call on the same dense weights; it remembers spectra and
            skews, which a search should not compute twice.
        report: Told about masks and repair.

    Raises:
        UsageError: If a part of the plan or a score makes no sense, or the repair walks, for which
            the model must run; the weights are untouched unless repair had begun.
    """
    if plan.repair.walks:
        raise UsageError(
            f"repair {plan.repair.text!r} has to run the model, which is not at hand here; call "
            "autoprune.walking.prune_from_scores, or leave out walk:"
        )
    start = time.perf_counter()
    context = context or ModelContext(layers, statistics, plan.seed)
    quotas = layer_budgets(plan, context)
    masks = masks_from_scores(score, layers, quotas, plan, report=report)
    notes: list[str] = list(statistics.notes) if statistics is not None else []
    for done, layer in enumerate(layers, 1):
        stats = statistics.of(layer.name) if statistics is not None and plan.repair.needs else {}
        masks[layer.name], said = repair_layer(layer, masks[layer.name], stats, plan)
        notes.extend(said)
        if plan.repair.needs:
            report(Progress("repair", done, len(layers)))
    return PruneOutcome.of_masks(masks, time.perf_counter() - start, notes)


@torch.no_grad()
def repair_layer(
    layer: PrunableLinear, keep: Tensor, stats: Mapping[str, Tensor], plan: PruningPlan
) -> tuple[Tensor, list[str]]:
    """Repair one layer and write it; returns the final mask and notes that name the layer.

    Mask and statistics may lie on another device than the layer; the final mask is on the CPU.
    """
    if not plan.repair.layer:
        layer.zero(keep)
        return keep.cpu(), []
    weight = layer.read()
    near = beside(weight, stats, plan.repair.needs)
    keep = keep.to(weight.device)
    result = plan.repair.repair(weight, keep, near, plan.pattern, plan.saved)
    layer.write(result.weight)
    return result.keep.cpu(), [f"{layer.name}: {note}" for note in result.notes]


def _comparison_groups(
    layers: Sequence[PrunableLinear], plan: PruningPlan
) -> Iterator[list[PrunableLinear]]:
    if plan.pattern is None and plan.group == "global":
        yield list(layers)
    elif plan.pattern is None and plan.group == "block":
        blocks: dict[int, list[PrunableLinear]] = {}
        for layer in layers:
            blocks.setdefault(layer.block, []).append(layer)
        yield from blocks.values()
    else:
        yield from ([layer] for layer in layers)
