"""Perplexity on token windows."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.evaluation.kl import DensePredictions
from autoprune.models.positions import require_positions
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent


@dataclass(frozen=True)
class Evaluation:
    """Loss of a model on windows.

    Args:
        nll: Mean negative log-likelihood of each window, nats per token; infinite where the
            model's output is not a number.
        tokens: Tokens scored: all but the first of each window, which is the beginning token where
            the tokenizer puts one.
        perplexity: ``exp`` of the token-weighted mean of ``nll``; infinite on overflow.
        seconds: Wall-clock time.
        kl: Mean KL(dense || model) of each window, nats per token, as
            :func:`autoprune.evaluation.kl.kl_to_dense` gives it; empty if it was not requested.
    """

    nll: tuple[float, ...]
    tokens: int
    perplexity: float
    seconds: float
    kl: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form, without ``kl``."""
        return {
            "nll": list(self.nll),
            "tokens": self.tokens,
            "perplexity": self.perplexity,
            "seconds": self.seconds,
        }


@torch.no_grad()
def evaluate_windows(
    model: PreTrainedModel,
    windows: Tensor,
    *,
    report: Report = silent,
    batch: int = 2,
    autocast: torch.dtype | None = None,
    dense: DensePredictions | None = None,
) -> Evaluation:
    """Score every token but the first of each window, given those before it in the window."""
    require_positions(model, windows)
    started = time.perf_counter()
    nll: list[float] = []
    kl: list[float] = []
    for part in torch.split(windows, batch):
        ids = part.to(model.device)
        with torch.autocast(ids.device.type, dtype=autocast, enabled=autocast is not None):
            logits = model(input_ids=ids, use_cache=False).logits
        # Row by row: float32 log-probabilities of a whole batch would double its logits' memory.
        for row, target in zip(logits, ids, strict=True):
            nll.append(window_loss(row[:-1], target[1:]))
            if dense is not None:
                kl.append(dense.distance(len(kl), row))
        note = f"perplexity {perplexity_of(nll):.2f}"
        report(Progress("evaluation", len(nll), len(windows), note))
    scored = windows.shape[0] * (windows.shape[1] - 1)
    seconds = time.perf_counter() - started
    return Evaluation(tuple(nll), scored, perplexity_of(nll), seconds, tuple(kl))


def window_loss(logits: Tensor, targets: Tensor) -> float:
    """Mean negative log-likelihood, nats per token, computed in float32."""
    loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    value = float(in_float64(loss).mean())
    return math.inf if math.isnan(value) else value


def perplexity_of(nll: list[float] | tuple[float, ...]) -> float:
    """``exp`` of the mean of per-window losses of equal length; infinite on overflow."""
    try:
        return math.exp(math.fsum(nll) / len(nll))
    except OverflowError:
        return math.inf
