"""Tune the blocks of a smaller dense model until each gives what the dense one has behind it.

What removed blocks did is asked of the kept block before them: its goal is the dense hidden state
where the next kept block begins.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.models.capture import BlockStream
from autoprune.models.structure import prunable_linears
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.engine import leave_block
from autoprune.pruning.masters import passes_notes, passes_of
from autoprune.pruning.plan import Precision
from autoprune.pruning.tuning import BlockGoals, tune_block, windows_per_batch
from autoprune.repair import BlockTuning


class Stretches(BlockStream):
    """A dense model's blocks, in stretches that each serve as the goal of one kept block.

    A stretch is a kept block with the removed ones behind it, the first also with those before it.
    :attr:`position` is its kept block.

    Args:
        model: The dense model, in eval mode.
        windows: Token ids, ``[n, s]``.
        kept: Numbers of the blocks that stay, ascending.
        batch: Windows of one replay.
    """

    def __init__(
        self, model: PreTrainedModel, windows: Tensor, kept: Sequence[int], *, batch: int
    ) -> None:
        super().__init__(model, windows, batch=batch)
        self._ends = [*kept[1:], len(self.blocks)]
        self._first = 0
        self.position = kept[0]

    def output(self, number: int, hidden: Tensor | None = None) -> Tensor:
        """Run the next stretch on one batch; see :meth:`BlockStream.output`."""
        state = self.hidden[number] if hidden is None else hidden
        for place in range(self._first, self._ends[0]):
            state = self._calls[place][number].replay(self.blocks[place], state)
        return state

    def step(self, outputs: Sequence[Tensor] | None = None) -> None:
        """Move on one stretch, using outputs already computed if given."""
        if outputs is not None:
            self.hidden[:] = outputs
        end = self._ends.pop(0)
        self._calls[self._first : end] = [[] for _ in range(self._first, end)]
        self._first = self.position = end


def sharing(model: PreTrainedModel) -> PreTrainedModel:
    """A second model of the same weights, which are not copied.

    It stays as it is where the first one gets other blocks or new tensors; what is written into the
    tensors themselves changes both.
    """
    weights = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    shared: dict[int, Any] = {**weights, **{id(buffer): buffer for buffer in model.buffers()}}
    return copy.deepcopy(model, shared)


def tune_stretches(
    smaller: PreTrainedModel,
    dense: PreTrainedModel,
    kept: Sequence[int],
    windows: Tensor,
    how: BlockTuning,
    *,
    seed: int = 0,
    precision: Precision = "auto",
    report: Report = silent,
) -> list[str]:
    """Tune all weights of each block's matrices in place, from the front; see :func:`tune_block`.

    Each block reads what the tuned ones before it give. Its goals are those of
    :class:`BlockGoals`, with the dense model's stretch in place of the dense block. A block that
    gives them already stays as it is. The hidden states of one place are in memory at a time, of
    either model.

    References:
        EBFT, arXiv 2402.12419, which also tunes structured models. For removed blocks the nearest
        is LLM-Streamline, arXiv 2403.19135, which trains a light new layer in their place on the
        hidden states behind them; here the kept block before them learns it, and nothing is added.
        Shortened LLaMA, arXiv 2402.02834, retrains the whole model instead.
    """
    batch = windows_per_batch(windows, 0, how)
    stretches = Stretches(dense, windows, kept, batch=batch)
    goals = BlockGoals(stretches, how)
    stream = BlockStream(smaller, windows, batch=batch)
    # From now on, one list: the dense model's own states are with the goals.
    stretches.hidden = stream.hidden
    matrices = prunable_linears(smaller)
    notes: list[str] = []
    for number in range(len(kept)):
        with passes_of(smaller, how, precision), torch.no_grad():
            wanted = goals.of_next()
            # As before the first seam, where the blocks and their inputs are still the dense ones.
            same = all(torch.equal(stream.output(n), goal) for n, goal in enumerate(wanted))
        members = [layer for layer in matrices if layer.block == number]
        if members and not same:
            notes += tune_block(stream, members, None, wanted, how, seed, precision)
        stretches.step()
        if same:
            stream.step(wanted)
        else:
            with passes_of(smaller, how, precision), torch.no_grad():
                leave_block(stream)
        report(Progress("repair", number + 1, len(kept)))
    return [*notes, *passes_notes(smaller, how, precision)]
