"""How much a model needs each of its blocks: the lowest is removed first.

Sources: perplexity, Taylor and magnitude as in Shortened LLaMA (arXiv 2402.02834), influence as
in ShortGPT (arXiv 2403.03853); SLEB (arXiv 2402.09025) measures perplexity again after each
removal.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.evaluation.perplexity import window_loss
from autoprune.models.capture import BlockStream
from autoprune.models.structure import find_blocks
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.taylor import taylor_products

BATCH = 2
# Tokens that the loss of a model without some blocks is measured on, at most: each block costs one
# pass over them, and the ranks of blocks need less text than a fit does.
SCAN_TOKENS = 4096


def scan_windows(windows: Tensor) -> Tensor:
    """The first windows, as many as hold :data:`SCAN_TOKENS` tokens; at least one.

    Args:
        windows: Token ids, int64 [n, s].
    """
    return windows[: max(1, SCAN_TOKENS // windows.shape[1])]


@torch.no_grad()
def losses_without(
    model: PreTrainedModel, windows: Tensor, numbers: Sequence[int], *, report: Report = silent
) -> dict[int, float]:
    """Mean loss of the model with each of these blocks left out in turn, nats per token.

    A block's input does not depend on the block, so the blocks before it run only once.

    Args:
        model: In eval mode.
        windows: Token ids, int64 [n, s].
        numbers: Numbers of the blocks.
        report: Callback, called after each block of each batch.
    """
    blocks = find_blocks(model)
    sums = dict.fromkeys(numbers, 0.0)
    parts = torch.split(windows, BATCH)
    for count, part in enumerate(parts):
        ids = part.to(model.device)
        received = received_by(model, blocks, ids)
        for done, number in enumerate(numbers, 1):
            with standing_in(blocks[: number + 1], received, number):
                logits = model(input_ids=ids, use_cache=False).logits
            for row, target in zip(logits, ids, strict=True):
                sums[number] += window_loss(row[:-1], target[1:])
            total = len(parts) * len(numbers)
            report(Progress("blocks", count * len(numbers) + done, total))
    return {number: value / len(windows) for number, value in sums.items()}


@torch.no_grad()
def influences(
    model: PreTrainedModel, windows: Tensor, *, report: Report = silent
) -> dict[int, float]:
    """1 minus the mean cosine between each block's input and output, over tokens."""
    stream = BlockStream(model, windows)
    found: dict[int, float] = {}
    for number in range(len(stream.blocks)):
        outputs = list(stream.outputs())
        total = 0.0
        for before, after in zip(stream.hidden, outputs, strict=True):
            cosine = nn.functional.cosine_similarity(in_float64(before), in_float64(after), dim=-1)
            total += float(cosine.sum())
        found[number] = 1.0 - total / windows.numel()
        stream.step(outputs)
        report(Progress("blocks", number + 1, len(stream.blocks)))
    return found


def taylor(model: PreTrainedModel, windows: Tensor, *, report: Report = silent) -> dict[int, float]:
    """Sum of ``|w dL/dw|`` over all parameters of each block, gradients summed over windows."""
    products = taylor_products(model, windows, report=report)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        number: sum(float(in_float64(products[names[id(p)]]).sum()) for p in block.parameters())
        for number, block in enumerate(find_blocks(model))
    }


@torch.no_grad()
def magnitudes(model: PreTrainedModel) -> dict[int, float]:
    """Sum of ``|w|`` over all parameters of each block."""
    return {
        number: sum(float(in_float64(p.abs()).sum()) for p in block.parameters())
        for number, block in enumerate(find_blocks(model))
    }


@torch.no_grad()
def received_by(
    model: PreTrainedModel, blocks: nn.ModuleList, ids: Tensor
) -> list[tuple[Tensor, int]]:
    """Each block's input in the dense model, and the length of the tuple that it returns."""
    found: list[tuple[Tensor, int]] = []

    def note(_: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        found.append((hidden, len(result) if isinstance(result, tuple) else 0))

    with ExitStack() as stack:
        for block in blocks:
            handle = block.register_forward_hook(note, with_kwargs=True)
            stack.callback(handle.remove)
        model(input_ids=ids, use_cache=False)
    return found


@contextmanager
def standing_in(
    blocks: Iterable[nn.Module], received: Sequence[tuple[Tensor, int]], number: int
) -> Iterator[None]:
    """Skip the first blocks of a model, as if the last of them gave what a block received.

    Args:
        blocks: The blocks to skip, from the first on.
        received: See :func:`received_by`, of all blocks.
        number: Number of the block whose input goes on.
    """

    def stand_in(hidden: Tensor, length: int) -> Any:
        result = (hidden, *([None] * (length - 1))) if length else hidden
        return lambda *_, **__: result

    chosen = list(blocks)
    try:
        for block, (_, length) in zip(chosen, received, strict=False):
            # An instance attribute hides the class's method until it is deleted again.
            block.__dict__["forward"] = stand_in(received[number][0], length)
        yield
    finally:
        for block in chosen:
            block.__dict__.pop("forward", None)
