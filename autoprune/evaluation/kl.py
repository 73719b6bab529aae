"""Distance of a pruned model's predictions to the dense model's: mean KL per token.

It ranks candidates with less noise than perplexity, since every token compares whole distributions
instead of one probability (EvoPress, arXiv 2410.14649, section 4, uses it as fitness).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.precision import in_float64, where_float64_is
from autoprune.progress import Progress, Report, silent

DEFAULT_TOP = 256
_TINY = torch.finfo(torch.float32).tiny
# Tokens compared at once: several copies of their logits are in memory.
_TOKENS = 128


@dataclass(frozen=True)
class DensePredictions:
    """The dense model's most likely next tokens at each position.

    Args:
        tokens: Token ids of the windows, ``[n, s]``.
        ids: Vocabulary ids, int32 ``[n, s, k]``.
        log_probability: Their log-probabilities, float32 ``[n, s, k]``.
    """

    tokens: Tensor
    ids: Tensor
    log_probability: Tensor

    def part(self, windows: slice) -> "DensePredictions":
        """The predictions for some windows."""
        return DensePredictions(
            self.tokens[windows], self.ids[windows], self.log_probability[windows]
        )

    def distance(self, window: int, logits: Tensor) -> float:
        """Mean KL(dense || model) on one window, nats per token; infinite if not a number."""
        ids, dense = (x[window].to(logits.device) for x in (self.ids, self.log_probability))
        pieces = zip(*(torch.split(x, _TOKENS) for x in (logits, ids, dense)), strict=True)
        value = float(torch.cat([divergences(*piece) for piece in pieces]).mean())
        return math.inf if math.isnan(value) else value


@torch.no_grad()
def dense_predictions(
    model: PreTrainedModel,
    windows: Tensor,
    *,
    top: int = DEFAULT_TOP,
    report: Report = silent,
    batch: int = 2,
    autocast: torch.dtype | None = None,
) -> DensePredictions:
    """Run the dense model once and keep its ``top`` predictions per position.

    256 of them take 2 KB per token, while all logits of a vocabulary of 49 152 would take 98 KB
    even in float16.
    """
    ids: list[Tensor] = []
    kept: list[Tensor] = []
    for part in torch.split(windows, batch):
        for row in _logits(model, part, autocast):
            best, known = most_likely(row, top)
            ids.append(best)
            kept.append(known)
        report(Progress("dense predictions", len(ids), len(windows)))
    return DensePredictions(windows, torch.stack(ids), torch.stack(kept))


def most_likely(logits: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The ``top`` most likely tokens, int32 ``[t, k]``, and their log-probabilities, on the CPU."""
    logits = logits.float()
    best = logits.topk(min(top, logits.shape[-1]), dim=-1)
    known = best.values - logits.logsumexp(-1, keepdim=True)
    return best.indices.to(torch.int32).cpu(), known.cpu()


@torch.no_grad()
def kl_to_dense(
    model: PreTrainedModel,
    dense: DensePredictions,
    *,
    windows: int | None = None,
    known: int = 0,
    report: Report = silent,
    batch: int = 2,
    autocast: torch.dtype | None = None,
) -> tuple[float, ...]:
    """Mean KL(dense || model) of each window, nats per token.

    Predictions that were not kept count as one outcome. The result is thus a lower bound on the
    distance over the whole vocabulary, and equal to it if all were kept.
    """
    count = len(dense.tokens) if windows is None else windows
    if not 0 < count <= len(dense.tokens):
        raise UsageError(
            f"{count} windows were asked for and the dense model predicted {len(dense.tokens)}"
        )
    result: list[float] = []
    for part in torch.split(dense.tokens[known:count], batch):
        for row in _logits(model, part, autocast):
            result.append(dense.distance(known + len(result), row))
        report(Progress("distance to dense", len(result), count - known))
    return tuple(result)


def divergences(logits: Tensor, ids: Tensor, dense: Tensor) -> Tensor:
    """KL(dense || model) of each token, nats; what was not kept counts as one outcome."""
    logits, kept = logits.float(), ids.long()
    logits = logits - logits.logsumexp(-1, keepdim=True)
    # A sum of the others: one minus the kept ones would be rounding where the model is certain.
    left = in_float64(logits.exp().scatter(-1, kept, 0.0).sum(-1))
    return _distances(logits.gather(-1, kept), dense, left)[0]


def divergences_and_slopes(logits: Tensor, ids: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`divergences` and their gradients, with the softmax's slope in closed form.

    With q the model's probabilities, p the dense model's kept ones, r and s what both leave to the
    rest of the vocabulary, the slope is ``q (1 - r / s)``, and ``q - p`` where p was kept: a third
    of the passes over the vocabulary that automatic differentiation makes.
    """
    logits = logits.float()
    kept = ids.long()
    logits.sub_(logits.logsumexp(-1, keepdim=True))
    pruned = logits.gather(-1, kept)
    slopes = logits.exp_().scatter_(-1, kept, 0.0)
    left = in_float64(slopes.sum(-1))
    found, known, rest = _distances(pruned, dense, left)
    # Where the model leaves nothing to the rest, the distance is clamped and has no slope.
    moved = torch.where(left >= _TINY, rest, 0.0)
    inside = (known + moved).to(logits).unsqueeze(-1)
    outside = inside - (moved / left.clamp(min=_TINY)).to(logits).unsqueeze(-1)
    at_kept = pruned.exp() * inside - dense.exp()
    return found, slopes.mul_(outside).scatter_(-1, kept, at_kept)


def _distances(pruned: Tensor, dense: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances of tokens, and the shares behind them, each float64 ``[t]``."""
    probability = dense.exp()
    kept = where_float64_is((probability * (dense - pruned)).sum(-1))
    known = where_float64_is(probability).double().sum(-1)
    rest = (1 - known).clamp(min=0)
    ratio = rest.clamp(min=1e-30) / left.clamp(min=_TINY)
    counts = rest > 1e-6
    tail = torch.where(counts, rest * ratio.log(), 0.0)
    return kept.double() + tail, known, torch.where(counts, rest, 0.0)


def _logits(model: PreTrainedModel, ids: Tensor, autocast: torch.dtype | None) -> Tensor:
    ids = ids.to(model.device)
    with torch.autocast(ids.device.type, dtype=autocast, enabled=autocast is not None):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits
