"""Learn which units to keep by policy gradient: forward passes only, weights untouched.

Every unit has its own probability of being kept. Masks are drawn, the loss under each is measured,
and the probabilities follow the score-function gradient, projected onto the budget after each step
(Bypass Back-propagation, arXiv 2406.10576, with an equal budget for each block).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.evaluation.perplexity import window_loss
from autoprune.progress import Progress, Report, silent

# A probability of 0 or 1 would never move again.
EDGE = 1e-3


def mask_gradient(losses: Tensor, masks: Tensor, keep: Tensor) -> Tensor:
    """Unbiased gradient of the expected loss with respect to the probabilities.

    Args:
        losses: Losses of the draws, float64 [k], k ≥ 2; their mean is the baseline.
        masks: The draws, 0 or 1, [k, n].
        keep: Probabilities, [n].

    Returns:
        ``sum_k (L_k - mean L) (m_k - p) / (p (1 - p)) / (k - 1)``, [n].
    """
    score = (masks - keep) / (keep * (1.0 - keep))
    return ((losses - losses.mean())[:, None] * score).sum(0) / (len(losses) - 1)


def onto_budget(values: Tensor, count: float) -> Tensor:
    """The nearest probabilities within the edges that sum to ``count``: a shift, clipped."""
    low, high = values.min() - 1.0, values.max()
    for _ in range(50):
        middle = (low + high) / 2
        if (values - middle).clamp(EDGE, 1.0 - EDGE).sum() > count:
            low = middle
        else:
            high = middle
    return (values - high).clamp(EDGE, 1.0 - EDGE)


def start_from(scores: Tensor, count: int) -> Tensor:
    """Initial probabilities: ``sigmoid`` of the standardised scores, moved onto the budget."""
    spread = scores.std().clamp_min(1e-12)
    return onto_budget(torch.sigmoid((scores - scores.mean()) / spread), count)


def learn(
    loss_of: Callable[[int, Sequence[Tensor]], float],
    start: Sequence[Tensor],
    counts: Sequence[int],
    *,
    steps: int,
    samples: int,
    rate: float,
    generator: torch.Generator,
    report: Report = silent,
) -> list[Tensor]:
    """Learn the probabilities for each list of units.

    The gradient is scaled by ``sqrt(p (1 - p))`` as in the authors' code, and the rate falls to 0
    along half a cosine. All draws of a step use the same text.

    Args:
        loss_of: Loss of a draw, from the step's number and one mask per list.
        start: Probabilities for each list, float64 [n].
        counts: Units to keep in each list.
        steps: Number of learning steps.
        samples: Draws per step, at least 2.
        rate: Initial step size.
        generator: Draws the masks.
        report: Callback, called after each step.
    """
    keep = [part.clone() for part in start]
    for step in range(steps):
        draws = [[torch.bernoulli(p, generator=generator) for p in keep] for _ in range(samples)]
        losses = torch.tensor([loss_of(step, draw) for draw in draws], dtype=torch.float64)
        pace = rate * (1.0 + math.cos(math.pi * step / steps)) / 2
        for number, p in enumerate(keep):
            if bool(torch.isfinite(losses).all()):
                masks = torch.stack([draw[number] for draw in draws])
                change = mask_gradient(losses, masks, p) * (p * (1.0 - p)).sqrt()
                keep[number] = onto_budget(p - pace * change, counts[number])
        report(Progress("policy", step + 1, steps, f"loss {float(losses.mean()):.3f}"))
    return keep


def masked_loss(
    model: PreTrainedModel, windows: Tensor, readers: Sequence[nn.Module]
) -> Callable[[int, Sequence[Tensor]], float]:
    """Return a function that gives the model's loss on a window with masked units.

    Args:
        model: In eval mode.
        windows: Token ids, int64 [n, s]; step ``t`` uses window ``t`` modulo their number.
        readers: The matrix that reads each list's units; its inputs are divided equally among them.
    """

    @torch.no_grad()
    def loss_of(step: int, masks: Sequence[Tensor]) -> float:
        ids = windows[step % len(windows)][None].to(model.device)
        with _masked(readers, masks):
            logits = model(input_ids=ids, use_cache=False).logits[0]
        return window_loss(logits[:-1], ids[0, 1:])

    return loss_of


@contextmanager
def _masked(readers: Sequence[nn.Module], masks: Sequence[Tensor]) -> Iterator[None]:
    def hook(mask: Tensor) -> Any:
        def multiply(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            width = args[0].shape[-1] // len(mask)
            kept = mask.repeat_interleave(width).to(args[0])
            return (args[0] * kept, *args[1:])

        return multiply

    with ExitStack() as stack:
        for reader, mask in zip(readers, masks, strict=True):
            stack.callback(reader.register_forward_pre_hook(hook(mask)).remove)
        yield
