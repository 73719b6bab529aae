"""The distance to the dense model and its gradients; the head runs on a few tokens at a time."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from autoprune.evaluation.kl import (
    DensePredictions,
    divergences,
    divergences_and_slopes,
    most_likely,
)

# Tokens whose logits are in memory at once: a window of 512 takes 100 MB, and several copies are
# needed.
CHUNK = 128


class Head:
    """A model cut before its head, if its logits are just the head applied to its last state.

    Models that scale or cap their logits are run as a whole. A head without gradients must not
    change between calls.

    Args:
        model: In eval mode.
        probe: Token ids to try the cut on, ``[1, s]``.
    """

    def __init__(self, model: PreTrainedModel, probe: Tensor) -> None:
        self._model = model
        self._head = _cut(model, probe[:, :8].to(model.device))
        self._rounded: Tensor | None = None

    def backward(self, dense: DensePredictions, number: int, share: float) -> Tensor:
        """Add the gradients of one window's mean distance to those of the parameters."""
        tokens = dense.tokens[number : number + 1].to(self._model.device)
        ids = dense.ids[number].to(tokens.device)
        known = dense.log_probability[number].to(tokens.device)
        share /= tokens.shape[1]
        if self._head is None:
            logits = self._model(input_ids=tokens, use_cache=False).logits[0]
            loss = divergences(logits, ids, known).sum() * share
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        state = self._model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[0]
        leaf = state.detach().requires_grad_()
        losses = []
        for start in range(0, len(leaf), CHUNK):
            stop = start + CHUNK
            logits = self._logits(self._head, leaf[start:stop])
            found, slopes = divergences_and_slopes(
                logits.detach(), ids[start:stop], known[start:stop]
            )
            logits.backward(slopes.mul_(share).to(logits.dtype))  # type: ignore[no-untyped-call]
            losses.append(found.sum() * share)
        state.backward(leaf.grad)
        return sum(losses, torch.zeros_like(losses[0]))

    @torch.no_grad()
    def most_likely(self, window: Tensor, top: int) -> tuple[Tensor, Tensor]:
        """The most likely next tokens; see :func:`autoprune.evaluation.kl.most_likely`."""
        tokens = window.to(self._model.device)
        if self._head is None:
            return most_likely(self._model(input_ids=tokens, use_cache=False).logits[0], top)
        state = self._model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[0]
        # Pieces of one size: the product of a single row left over rounds differently.
        pieces = state.tensor_split(math.ceil(len(state) / CHUNK))
        found = [most_likely(self._logits(self._head, piece), top) for piece in pieces]
        ids, known = zip(*found, strict=True)
        return torch.cat(ids), torch.cat(known)

    def _logits(self, head: nn.Module, state: Tensor) -> Tensor:
        """Apply the head. Autocast would round the largest matrix again for every few tokens."""
        device = state.device.type
        rounds = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        if type(head) is not nn.Linear or head.weight.requires_grad or not rounds:
            logits: Tensor = head(state)
            return logits
        weight = self._rounded
        if weight is None:
            weight = self._rounded = head.weight.to(torch.get_autocast_dtype(device))
        return functional.linear(state, weight, head.bias)


@torch.no_grad()
def _cut(model: PreTrainedModel, ids: Tensor) -> nn.Module | None:
    """The head, if nothing else lies between the last state and the logits."""
    head: Any = model.get_output_embeddings()
    if head is None or model.base_model is model:
        return None
    found = model.base_model(input_ids=ids, use_cache=False)
    state = getattr(found, "last_hidden_state", None)
    if state is None:
        return None
    whole = model(input_ids=ids, use_cache=False).logits
    made = head(state)
    return head if made.shape == whole.shape and torch.equal(made, whole) else None
