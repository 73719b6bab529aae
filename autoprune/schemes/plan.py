"""What a scheme has decided: which blocks, neurons, groups and experts go, and the new weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Kept units of every block, by block.
Kept = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Step:
    """One change of a model's shape; numbers are those of the model that the step meets.

    Args:
        blocks: Blocks that go, ascending.
        neurons: Neurons of each block's MLP that stay; empty: all.
        groups: Key-value groups of each block's attention that stay, with their query heads;
            empty: all.
        experts: Experts of each block that stay, none for a block without; empty: all.
        weights: New values of parameters, by name, in the shapes before the step. Columns of
            neurons and groups that go are zero in the matrices that read them, so that writing the
            weights alone gives the same function.
    """

    blocks: tuple[int, ...] = ()
    neurons: Kept = ()
    groups: Kept = ()
    experts: Kept = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.blocks or self.neurons or self.groups or self.experts)

    def to_json(self) -> dict[str, Any]:
        """What goes, and how much of a block stays; without weights."""
        record: dict[str, Any] = {"blocks_removed": list(self.blocks)}
        if self.neurons:
            record["neurons_kept"] = len(self.neurons[0])
        if self.groups:
            record["groups_kept"] = len(self.groups[0])
        if self.experts:
            record["experts_kept"] = [list(numbers) for numbers in self.experts]
        return record | ({"weights_changed": sorted(self.weights)} if self.weights else {})


@dataclass(frozen=True)
class SchemePlan:
    """What a scheme does to one model.

    Args:
        scheme: Text of the scheme.
        target: Share of the parameters of the blocks that was to go, or of the experts.
        steps: Changes, in order.
        before: Parameters of the blocks before.
        after: Parameters of the blocks afterwards, in closed form.
        facts: Figures behind the choice: scores by block.
        notes: What a reader of the result must know.
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
        """Share of the parameters of the blocks that goes."""
        return 1.0 - self.after / self.before

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
