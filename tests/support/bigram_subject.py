"""A Llama that writes, after every token, the one token that it was given."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from autoprune.models.loading import LoadedModel
from autoprune.models.reference import ModelSource


def bigram_subject(
    tokenizer: PreTrainedTokenizerFast, followers: Sequence[int], *, positions: int = 512
) -> LoadedModel:
    """A model of one block that only looks at the last token."""
    size = len(followers) + len(followers) % 2
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=positions, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        for token, follower in enumerate(followers):
            model.lm_head.weight[follower, token] = 1.0
    return LoadedModel(model, tokenizer, ModelSource("bigram", Path("bigram"), None, "b" * 64))
