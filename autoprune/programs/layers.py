"""A program in the place where layers get their new weights; who runs it is handed in."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.masking.pattern import NM
from autoprune.models.structure import PrunableLinear
from autoprune.programs.blocks import BlockTask
from autoprune.programs.budget import LayerBudget, settle

GRAM = "gram"
# Statistics of its input that a layer program is handed.
READS = frozenset({GRAM, "x_norm", "x_mean", "x_var", "x_max"})


@dataclass(frozen=True)
class LayerTask:
    """One layer for a program.

    Args:
        weight: Dense, float32 [o, i] on the CPU.
        stats: Statistics of the input that the layer really has, float32; see :data:`READS`.
        budget: Zeros that it owes.
        position: ``block`` (number), ``depth`` (0 at the first block, 1 at the last), ``kind``
            (``q_proj``).
    """

    weight: Tensor
    stats: Mapping[str, Tensor]
    budget: LayerBudget
    position: Mapping[str, Any]


class ProgramRunner(Protocol):
    """The one door for designed programs: the library never runs any itself."""

    def require(self, program: Candidate) -> None:
        """Try a program on something tiny before it meets a model.

        Raises:
            CandidateRejectedError: If it is rejected.
        """
        ...

    def run(self, program: Candidate, tasks: Sequence[LayerTask]) -> Sequence[Tensor]:
        """New weights of some layers, as the program gave them; the caller checks them.

        Args:
            program: Of kind ``program``.
            tasks: All that are pruned at one time; no call knows of another.

        Raises:
            CandidateRejectedError: If the program is rejected.
        """
        ...

    def run_blocks(
        self, program: Candidate, tasks: Sequence[BlockTask]
    ) -> Sequence[Mapping[str, Tensor]]:
        """New matrices of some blocks by name in the block, as a block program gave them.

        Raises:
            CandidateRejectedError: If the program is rejected.
            UsageError: If the block that programs call is not the model's; see
                :func:`autoprune.programs.require_same`.
        """
        ...

    def done(self) -> None:
        """End a program's run on a model: nothing of it may be kept for the next one."""
        ...

    def close(self) -> None:
        """Let everything go that was opened for running."""
        ...


@dataclass
class AppliedProgram:
    """A program on a model: its runner, and what each matrix owes.

    Args:
        runner: Runs it.
        program: Of kind ``program``.
        quotas: Zeros per layer.
        group: Weights that compete.
        pattern: N:M pattern, or None.
        saved: Type that weights will be saved in; None: the type that they have in memory.
        blocks: Number of blocks of the model.

    Attributes:
        last: Name of the last layer that was written; empty while all are dense.
    """

    runner: ProgramRunner
    program: Candidate
    quotas: Mapping[str, int]
    group: Literal["row", "matrix"]
    pattern: NM | None = None
    saved: torch.dtype | None = None
    blocks: int = 1
    needs: frozenset[str] = field(default=READS, init=False)
    last: str = field(default="", init=False)

    def budget_of(self, layer: PrunableLinear) -> LayerBudget:
        """Zeros that a layer owes.

        Raises:
            UsageError: If the N:M pattern does not divide the layer.
        """
        if self.pattern is not None:
            self.pattern.check(layer.name, layer.shape[1])
        return LayerBudget(self.group, self.quotas[layer.name], self.pattern)

    def position_of(self, block: int) -> dict[str, Any]:
        """Where a block stands: its number, and 0 at the first one to 1 at the last."""
        return {"block": block, "depth": block / max(self.blocks - 1, 1)}

    def handed(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics that a program is handed of an input."""
        return {name: stats[name].float().cpu() for name in sorted(self.needs)}

    def write(
        self, layer: PrunableLinear, made: Tensor, dense: Tensor, budget: LayerBudget
    ) -> tuple[Tensor, list[str]]:
        """Give a layer the weights that a program made of it, once they are recounted.

        Args:
            layer: It is written.
            made: New weights, [out, in].
            dense: Those that the program was handed.
            budget: Zeros that it owes.

        Returns:
            Which weights are kept, bool [out, in], and a note where some had to be put right.

        Raises:
            CandidateRejectedError: If the contract is broken; see :func:`settle`.
        """
        settled = settle(made, dense, budget, self.saved or layer.read().dtype, layer.name)
        layer.write(settled.weight)
        self.last = layer.name
        if not settled.projected:
            return settled.keep, []
        return settled.keep, [
            f"{layer.name}: {settled.projected} of {layer.numel} weights missed the budget "
            "and put right"
        ]


@dataclass
class ProgramWeights(AppliedProgram):
    """Has a program prune layers: the engine's :class:`autoprune.pruning.NewWeights`.

    A program whose source does not name the Gram matrix is handed none: collecting it takes most
    of the time that a simple program costs.
    """

    def __post_init__(self) -> None:
        if GRAM not in self.program.source:
            self.needs = READS - {GRAM}

    def __call__(
        self,
        layers: Sequence[PrunableLinear],
        stats_of: Callable[[PrunableLinear], Mapping[str, Tensor]],
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Prune layers in place."""
        tasks = [self._task(layer, stats_of(layer)) for layer in layers]
        made = self.runner.run(self.program, tasks)
        if len(made) != len(tasks):
            detail = f"{len(made)} new weights for {len(tasks)} layers"
            raise CandidateRejectedError("incomplete", detail)
        masks, notes = dict[str, Tensor](), list[str]()
        for layer, task, weight in zip(layers, tasks, made, strict=True):
            masks[layer.name], note = self.write(layer, weight, task.weight, task.budget)
            notes += note
        return masks, notes

    def _task(self, layer: PrunableLinear, stats: Mapping[str, Tensor]) -> LayerTask:
        return LayerTask(
            layer.read().float().cpu().contiguous(),
            self.handed(stats),
            self.budget_of(layer),
            self.position_of(layer.block) | {"kind": layer.projection},
        )


def weights_digest(layers: Sequence[PrunableLinear]) -> str:
    """SHA-256 over the weights of layers, as float32: two programs with the same are one."""
    sha = hashlib.sha256()
    for layer in layers:
        sha.update(f"{layer.name}:{layer.shape}\n".encode())
        sha.update(layer.read().float().cpu().contiguous().numpy().data)
    return sha.hexdigest()
