"""What a model says of a text, bit for bit the same for the same weights."""

import torch
from torch.func import functional_call
from transformers import PreTrainedModel

from tests.support.tiny_models import random_windows

TEXT = random_windows(3, 10, seed=5)


@torch.no_grad()
def logits(model: PreTrainedModel, text: torch.Tensor = TEXT) -> torch.Tensor:
    """Logits ``[windows, tokens, vocabulary]``, of weights that each begin on a cache line.

    Weights that safetensors maps from a file begin anywhere, and some processors then add a row's
    products in another order.
    """
    aligned = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    asked = {"input_ids": text, "use_cache": False}
    return functional_call(model, aligned, kwargs=asked).logits
