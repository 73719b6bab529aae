"""Three real blocks that rank programs: new weights, and the error on unseen text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autoprune.bench.block_programs import ProgramBlocks, held_out, mean_error
from autoprune.bench.programs import ByProgram
from autoprune.candidate import CandidateRejectedError
from autoprune.models.capture import BlockReplay, BlockStream
from autoprune.programs import READS, weights_digest
from autoprune.pruning import PruningPlan, SeenBlock
from autoprune.pruning.engine import record_block
from autoprune.pruning.masks import equal_budgets

if TYPE_CHECKING:
    from autoprune.bench.bench import Bench
    from autoprune.budget import Budget
    from autoprune.models.structure import PrunableLinear
    from autoprune.recipe import Recipe


@dataclass(frozen=True)
class _ProbeBlock:
    members: "list[PrunableLinear]"
    stats: Mapping[str, Mapping[str, Tensor]]
    seen: BlockReplay
    unseen: BlockReplay
    goals: list[Tensor]

    def for_program(self) -> SeenBlock:
        """The input of a block program; the block and the model before it are dense."""
        return SeenBlock(self.members, self.seen, list(self.seen.outputs()))


class BlockProbe:
    """First, middle and last block of the dense model, with their inputs and outputs.

    A quarter of the calibration windows is held out. Programs get the statistics, or the hidden
    states, of the other windows and are measured on the held-out ones.

    Args:
        bench: A bench whose weights are dense.
    """

    @torch.no_grad()
    def __init__(self, bench: "Bench") -> None:
        windows, model = bench.drawn_windows(0), bench.loaded.model
        count, apart = held_out(len(windows))
        seen = windows[:count]
        streams = (
            BlockStream(model, seen),
            BlockStream(model, windows[len(seen) :] if apart else seen),
        )
        depth = len(streams[0].blocks)
        self.blocks: list[_ProbeBlock] = []
        self.depth = depth
        for index in range(depth):
            if index in {0, depth // 2, depth - 1}:
                members = [layer for layer in bench.layers if layer.block == index]
                stats = record_block(streams[0], members, READS).results()
                unseen = streams[1].kept()
                goals = list(unseen.outputs())
                known = streams[0].kept()
                self.blocks.append(_ProbeBlock(members, stats, known, unseen, goals))
            for stream in streams if index + 1 < depth else ():
                stream.advance()

    @torch.no_grad()
    def behaviour(self, bench: "Bench", recipe: "Recipe", budget: "Budget") -> tuple[str, float]:
        """Digest of the new weights of the three blocks, and their error on unseen windows.

        The error is the mean over tokens of ``||y' - y||^2 / ||y||^2``, y the dense block's output.
        """
        plan = PruningPlan.of_recipe(recipe, budget.share, pattern=budget.pattern or "unstructured")
        members = [layer for block in self.blocks for layer in block.members]
        quotas = equal_budgets(plan, members)
        program = ByProgram(recipe.metric, bench.programs)
        stats = {name: own for block in self.blocks for name, own in block.stats.items()}
        with bench.dense:
            with program.making(quotas, plan, self.depth) as make:
                if isinstance(make, ProgramBlocks):
                    parts = [block.for_program() for block in self.blocks]
                    make.prune_blocks(parts, lambda layer: stats[layer.name])
                else:
                    make(members, lambda layer: stats[layer.name])
            error = mean_error(
                pair
                for block in self.blocks
                for pair in zip(block.unseen.outputs(), block.goals, strict=True)
            )
            if not math.isfinite(error):
                raise CandidateRejectedError(
                    "nan_weights",
                    f"the new weights are finite, but too large: the error of three real blocks on "
                    f"unseen windows is {error}; keep the new weights near the size of W",
                )
            return weights_digest(members), error
