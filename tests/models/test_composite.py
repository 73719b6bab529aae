"""Models that also read images keep the settings of their language model apart."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3TextConfig,
    PreTrainedModel,
    SiglipVisionConfig,
)

from autoprune.errors import UsageError
from autoprune.evaluation.suites.latency import prompt_ids, require_room, time_once
from autoprune.models.positions import position_limit
from autoprune.models.structure import prunable_linears, text_config


@pytest.fixture(scope="module")
def composite() -> PreTrainedModel:
    text = Gemma3TextConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=28, patch_size=14,
    )  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


def test_speed_and_room_follow_the_language_model(composite: PreTrainedModel) -> None:
    assert not hasattr(composite.config, "vocab_size")
    assert (text_config(composite).vocab_size, position_limit(composite)) == (300, 64)
    assert int(prompt_ids(composite, 2, 40, 0).max()) < 300
    prompt, whole = time_once(composite, 1, 8, 4, 0)
    assert prompt > 0 and whole > 0
    with pytest.raises(UsageError, match="the model's 64 positions"):
        require_room(composite, 60, 8)


def test_its_blocks_are_those_of_the_language_model(composite: PreTrainedModel) -> None:
    layers = prunable_linears(composite)
    assert {layer.block for layer in layers} == {0, 1}
    with torch.inference_mode():
        assert composite(torch.ones(1, 3, dtype=torch.long)).logits.shape == (1, 3, 300)
