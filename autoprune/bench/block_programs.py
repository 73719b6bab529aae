"""Adapter that lets a block program provide the new weights of whole blocks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autoprune.candidate import CandidateRejectedError
from autoprune.models.structure import PrunableLinear
from autoprune.programs import (
    AppliedProgram,
    BlockTask,
    block_form,
    names_in_block,
)
from autoprune.pruning import SeenBlock
from autoprune.pruning.products import products_type
from autoprune.pruning.tuning import relative_error
from autoprune.repair import BlockTuning

# Share of the calibration windows that a program does not see.
HELD_OUT = 0.25


@dataclass
class ProgramBlocks(AppliedProgram):
    """Prunes whole blocks by a program: implements :class:`autoprune.pruning.NewBlocks`.

    The program's source defines ``prune_block``.

    Args:
        quick: Products in bfloat16 where the processor is fast with them, and all of its threads.

    Attributes:
        errors: Relative error of each pruned block on windows that the program did not see.
    """

    quick: bool = False
    errors: list[float] = field(default_factory=list, init=False)

    @property
    def tuning(self) -> BlockTuning:
        """Targets as for block tuning; see :class:`autoprune.pruning.NewBlocks`."""
        return BlockTuning(passes="bfloat16" if self.quick else "float32")

    def seen(self, batches: int) -> int:
        """All batches but a quarter; a single batch is seen."""
        return held_out(batches)[0]

    def prune_blocks(
        self,
        blocks: Sequence[SeenBlock],
        stats_of: Callable[[PrunableLinear], Mapping[str, Tensor]],
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Prune dense blocks in place."""
        names = [names_in_block(block.replay.block, block.members) for block in blocks]
        tasks = [self._task(block, own, stats_of) for block, own in zip(blocks, names, strict=True)]
        made = self.runner.run_blocks(self.program, tasks)
        if [set(weights) for weights in made] != [set(task.weights) for task in tasks]:
            detail = f"new weights of {len(made)} blocks for {len(tasks)}, or of other matrices"
            raise CandidateRejectedError("incomplete", detail)
        masks, notes = dict[str, Tensor](), list[str]()
        for block, own, task, weights in zip(blocks, names, tasks, made, strict=True):
            for layer in block.members:
                name = own[layer.name]
                masks[layer.name], note = self.write(
                    layer, weights[name], task.weights[name], task.budgets[name]
                )
                notes += note
            if block.unseen is not None:
                pairs = zip(block.unseen.outputs(), block.unseen_goals, strict=True)
                self.errors.append(mean_error(pairs))
        return masks, notes

    def _task(
        self,
        seen: SeenBlock,
        names: Mapping[str, str],
        stats_of: Callable[[PrunableLinear], Mapping[str, Tensor]],
    ) -> BlockTask:
        replay = seen.replay
        form, rest = block_form(replay.block, names, replay.calls[0])
        if self.quick and products_type(torch.device("cpu"), torch.float32) == torch.bfloat16:
            form["products"] = "bfloat16"
        ends = sorted({0, len(replay.hidden) - 1})
        # A block in half precision rounds its outputs, and what is handed out is float32.
        parts = (replay.part(end, end + 1).in_float32() for end in ends)
        outputs = [out for part in parts for out in part.outputs()]
        # Matrices that read the same tensor share their statistics, which are passed once.
        known: dict[int, Mapping[str, Tensor]] = {}
        stats = {}
        for layer in seen.members:
            found = stats_of(layer)
            stats[names[layer.name]] = known.setdefault(id(found["gram"]), self.handed(found))
        return BlockTask(
            form=form,
            weights={names[x.name]: x.read().float().cpu().contiguous() for x in seen.members},
            rest=rest,
            stats=stats,
            budgets={names[x.name]: self.budget_of(x) for x in seen.members},
            position=self.position_of(seen.members[0].block),
            inputs=_together(replay.hidden),
            targets=_together(seen.goals),
            checks=(_together([replay.hidden[end] for end in ends]), _together(outputs)),
            quick=self.quick,
        )


def mean_error(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Mean over all tokens of ``||y' - y||^2 / ||y||^2``."""
    known = [(float(relative_error(output, goal)), len(goal)) for output, goal in pairs]
    largest = max(size for _, size in known)
    # Batches of one size weigh exactly 1, so that no product is rounded.
    weights = [size / largest for _, size in known]
    total = sum(error * weight for (error, _), weight in zip(known, weights, strict=True))
    return total / sum(weights)


def held_out(count: int) -> tuple[int, int]:
    """How many of ``count`` windows a program sees, and how many are held out."""
    apart = max(1, round(count * HELD_OUT)) if count > 1 else 0
    return count - apart, apart


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Concatenated batches [b, s, d], float32 on the CPU."""
    return torch.cat([part.detach().float().cpu() for part in parts])
