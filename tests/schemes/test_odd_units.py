"""Models that look as if their units could go alone, and that width refuses before it changes them."""

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError
from autoprune.models.structure import find_blocks
from autoprune.schemes import build_scheme, shrink
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model

WINDOWS = random_windows(4, 12)
SHAPE = {"vocab_size": 96, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}


def odd_model(name: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> PreTrainedModel:
    given = SHAPE | {"max_position_embeddings": 64} | changes
    monkeypatch.setitem(FAMILIES, name, lambda: getattr(transformers, name)(**given))
    return tiny_model(name)


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=WINDOWS, use_cache=False).logits


def test_heads_that_are_subtracted_in_pairs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = odd_model("DiffLlamaConfig", monkeypatch)
    dense = logits(model)
    with pytest.raises(AutopruneError, match=r"lambda_q1 \(4,\).* --scheme width:parts=mlp"):
        shrink(model, build_scheme("width"), 0.3, WINDOWS)
    assert torch.equal(logits(model), dense)
    shrink(model, build_scheme("width:parts=mlp"), 0.3, WINDOWS)
    assert find_blocks(model)[0].mlp.down_proj.in_features < 24
