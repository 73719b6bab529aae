"""Providers of new weights for layers: masks and a repair here; a program may replace both."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from autoprune.models.capture import BlockReplay
from autoprune.models.structure import PrunableLinear
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.masks import Score, StatsOf, masks_from_scores, to_device_of
from autoprune.pruning.outcome import PruneOutcome
from autoprune.pruning.plan import PruningPlan
from autoprune.repair import BlockTuning

Masks = Callable[[Sequence[PrunableLinear], StatsOf], Mapping[str, Tensor]]


class NewWeights(Protocol):
    """Gives layers new weights in place; the engine decides which, when and by what statistics."""

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of each layer's input that it reads."""
        ...

    def __call__(
        self, layers: Sequence[PrunableLinear], stats_of: StatsOf
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Prune layers that are still dense."""
        ...


@dataclass(frozen=True)
class SeenBlock:
    """A dense block with the windows it is pruned on.

    Args:
        members: Its matrices.
        replay: The block with its inputs from the pruned model.
        goals: Its target outputs, one per batch.
        unseen: The block with held-out windows, only for its error; None if not needed.
        unseen_goals: Its target outputs on those windows.
    """

    members: Sequence[PrunableLinear]
    replay: BlockReplay
    goals: Sequence[Tensor]
    unseen: BlockReplay | None = None
    unseen_goals: Sequence[Tensor] = ()


@runtime_checkable
class NewBlocks(Protocol):
    """Gives whole blocks new weights, instead of :class:`NewWeights` and block tuning."""

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of each layer's input that it reads, on the windows it may see."""
        ...

    @property
    def tuning(self) -> BlockTuning:
        """How the targets of its blocks are made: windows per batch, anchor, type of products."""
        ...

    def seen(self, batches: int) -> int:
        """How many of ``batches`` it may see, counted from the first."""
        ...

    def prune_blocks(
        self, blocks: Sequence[SeenBlock], stats_of: StatsOf
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Prune dense blocks; see :meth:`NewWeights.__call__`."""
        ...


@runtime_checkable
class Maker(Protocol):
    """Makes the new weights of a whole model, such as a program, instead of scores."""

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of the dense model that it reads."""
        ...

    def check(self, plan: PruningPlan) -> None:
        """Refuse a plan that it cannot follow."""
        ...

    def making(
        self, quotas: Mapping[str, int], plan: PruningPlan, blocks: int
    ) -> AbstractContextManager[NewWeights | NewBlocks]:
        """Provide the new weights while all layers are pruned."""
        ...

    def outcome(
        self,
        found: PruneOutcome,
        make: NewWeights | NewBlocks,
        layers: Sequence[PrunableLinear],
    ) -> PruneOutcome:
        """Add to an outcome what only the maker knows."""
        ...


@dataclass(frozen=True)
class MasksThenRepair:
    """Masks first, then a repair of each layer; see :class:`NewWeights`.

    Args:
        plan: Repair and pattern.
        masks: Chooses the masks that the repair starts from.
        reads: Statistics that the choice reads.
        report: Called after every repaired layer.
    """

    plan: PruningPlan
    masks: Masks
    reads: frozenset[str] = frozenset()
    report: Report = silent

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that the choice of masks and the repair read."""
        return self.reads | self.plan.repair.needs

    def __call__(
        self, layers: Sequence[PrunableLinear], stats_of: StatsOf
    ) -> tuple[dict[str, Tensor], list[str]]:
        """See :class:`NewWeights`."""
        masks, notes = dict(self.masks(layers, stats_of)), list[str]()
        for done, layer in enumerate(layers, 1):
            stats = stats_of(layer) if self.plan.repair.needs else {}
            masks[layer.name], found = repair_layer(layer, masks[layer.name], stats, self.plan)
            notes.extend(found)
            if self.plan.repair.layer:
                self.report(Progress("repair", done, len(layers)))
        return masks, notes


def scored(score: Score, quotas: Mapping[str, int], plan: PruningPlan) -> MasksThenRepair:
    """Masks by scores from the statistics of a layer's actual input, then the repair."""
    return MasksThenRepair(
        plan,
        lambda layers, stats_of: masks_from_scores(score, layers, quotas, plan, stats_of),
        score.needs,
    )


def given(
    masks: Mapping[str, Tensor], plan: PruningPlan, report: Report = silent
) -> MasksThenRepair:
    """Masks that are already known, then the repair."""
    return MasksThenRepair(
        plan, lambda layers, _: {layer.name: masks[layer.name] for layer in layers}, report=report
    )


@torch.no_grad()
def repair_layer(
    layer: PrunableLinear, keep: Tensor, stats: Mapping[str, Tensor], plan: PruningPlan
) -> tuple[Tensor, list[str]]:
    """Repair one layer in place; return the final mask and notes that name the layer.

    Mask and statistics may be on a different device from the layer; the final mask is on the CPU.
    """
    if not plan.repair.layer:
        layer.zero(keep)
        return keep.cpu(), []
    weight = layer.read()
    on_device = to_device_of(weight, stats, plan.repair.needs)
    keep = keep.to(weight.device)
    result = plan.repair.repair(weight, keep, on_device, plan.pattern, plan.saved)
    layer.write(result.weight)
    return result.keep.cpu(), [f"{layer.name}: {note}" for note in result.notes]
