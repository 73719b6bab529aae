"""The decisions of a scheme: what to remove, and the new weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

# Kept units of every block.
Kept = tuple[tuple[int, ...], ...]


def alike(counts: Sequence[int]) -> int | list[int]:
    """One number where it is that of all blocks, else one for each block."""
    return counts[0] if len(set(counts)) == 1 else list(counts)


@dataclass(frozen=True)
class Step:
    """One change of a model's shape; numbers refer to the model before the step.

    Args:
        blocks: Blocks to remove, ascending.
        neurons: Neurons to keep in each block's MLP; empty for all.
        groups: Key-value groups to keep in each block's attention, with their query heads; empty
            for all.
        experts: Experts to keep in each block, none for a block without; empty for all.
        weights: New values of parameters, by name, in the shapes before the step. In the matrices
            that read removed neurons and groups, their columns are zero, so writing the weights
            alone gives the same function.
        skip_below: Ratio of weights below which a block's tokens skip experts, None for a block
            without; empty to skip none.
    """

    blocks: tuple[int, ...] = ()
    neurons: Kept = ()
    groups: Kept = ()
    experts: Kept = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    skip_below: tuple[float | None, ...] = ()

    def without_weights(self) -> "Step":
        """The step after it was applied: the names of its weights without the values."""
        return replace(self, weights={name: torch.empty(0) for name in self.weights})

    def to_json(self) -> dict[str, Any]:
        """What is removed and how much of a block stays; without weights."""
        record: dict[str, Any] = {"blocks_removed": list(self.blocks)}
        if self.neurons:
            record["neurons_kept"] = alike([len(kept) for kept in self.neurons])
        if self.groups:
            record["groups_kept"] = len(self.groups[0])
        if self.experts:
            record["experts_kept"] = [list(numbers) for numbers in self.experts]
        if self.skip_below:
            record["experts_skipped_below"] = list(self.skip_below)
        return record | ({"weights_changed": sorted(self.weights)} if self.weights else {})


@dataclass(frozen=True)
class SchemePlan:
    """What a scheme does to one model.

    Args:
        scheme: Text of the scheme.
        target: Requested share of the block parameters, or of the experts, to remove.
        steps: Changes, in order.
        before: Block parameters before.
        after: Block parameters afterwards, in closed form.
        facts: Figures behind the choice, such as scores by block.
        notes: What readers of the result must know.
    """

    scheme: str
    target: float
    steps: tuple[Step, ...]
    before: int
    after: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """What the model loses, as a share of the block parameters."""
        return 1.0 - self.after / self.before

    @property
    def units(self) -> list[list[Any]]:
        """What stays and what goes, by step: whole numbers, the same on every machine.

        Of what skips while it runs, the thresholds, to three digits.
        """
        found: list[list[Any]] = []
        for step in self.steps:
            found.append([step.blocks, step.neurons, step.groups, step.experts])
            skips = [f"{beta:.3g}" for beta in step.skip_below if beta is not None]
            found[-1] += [skips] if skips else []
        return found

    def kept_blocks(self, count: int) -> list[int]:
        """Blocks that stay, by their numbers before all steps.

        Args:
            count: Number of blocks before.
        """
        kept = list(range(count))
        for step in self.steps:
            kept = [number for place, number in enumerate(kept) if place not in step.blocks]
        return kept

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form, without weights."""
        return {
            "scheme": self.scheme,
            "parameters_target": self.target,
            "block_parameters_before": self.before,
            "block_parameters_after": self.after,
            "share_removed": self.share,
            "steps": [step.to_json() for step in self.steps],
            "facts": dict(self.facts),
        }
