"""Tiny random models of many decoder families, built from their configurations."""

from collections.abc import Callable

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 96
HIDDEN = 16


def _config(name: str, **extra: object) -> Callable[[], transformers.PretrainedConfig]:
    values: dict[str, object] = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **extra,
    }
    return lambda: getattr(transformers, name)(**values)


_SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]

FAMILIES = {
    "llama": _config("LlamaConfig"),
    "mistral": _config("MistralConfig", sliding_window=8),
    "qwen2": _config("Qwen2Config"),
    "qwen3": _config("Qwen3Config", head_dim=4),
    "gemma2": _config(
        "Gemma2Config", head_dim=4, query_pre_attn_scalar=4, sliding_window=8, layer_types=_SLIDING
    ),
    "gemma3": _config(
        "Gemma3TextConfig",
        head_dim=4,
        query_pre_attn_scalar=4,
        sliding_window=8,
        layer_types=_SLIDING,
    ),
    "phi3": _config("Phi3Config"),
    "olmo2": _config("Olmo2Config"),
    "opt": _config("OPTConfig", ffn_dim=24, word_embed_proj_dim=HIDDEN),
    "opt-350m": _config("OPTConfig", ffn_dim=24, word_embed_proj_dim=8, do_layer_norm_before=False),
    "gpt2": _config("GPT2Config", n_positions=64, n_embd=HIDDEN, n_layer=3, n_head=4, n_inner=24),
    "gpt_neox": _config("GPTNeoXConfig"),
    "bloom": _config("BloomConfig", n_layer=3, n_head=4),
    "falcon": _config("FalconConfig", alibi=False, new_decoder_architecture=False),
    "mixtral": _config("MixtralConfig", num_local_experts=4, num_experts_per_tok=2),
    "qwen3_moe": _config(
        "Qwen3MoeConfig",
        head_dim=4,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        decoder_sparse_step=1,
        mlp_only_layers=[0],
    ),
    "deepseek_v3": _config(
        "DeepseekV3Config",
        num_key_value_heads=4,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        n_group=2,
        topk_group=1,
        moe_intermediate_size=12,
        first_k_dense_replace=1,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=4,
    ),
    "gpt_oss": _config(
        "GptOssConfig",
        head_dim=4,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=8,
        layer_types=_SLIDING,
    ),
    "mamba": _config("MambaConfig", intermediate_size=32, state_size=4, time_step_rank=4),
}

# What a person who read the family's source would list, per block.
EXPECTED = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
    "gpt_neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
    "mixtral": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"},
    "deepseek_v3": {
        "q_a_proj",
        "q_b_proj",
        "kv_a_proj_with_mqa",
        "kv_b_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "gate_up_proj",
    },
}
for _same in ("mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2"):
    EXPECTED[_same] = EXPECTED["llama"]
EXPECTED["opt-350m"] = EXPECTED["opt"]
EXPECTED["bloom"] = EXPECTED["falcon"] = EXPECTED["gpt_neox"]
EXPECTED["qwen3_moe"] = EXPECTED["mixtral"] | {"gate_proj", "up_proj"}
EXPECTED["mamba"] = {"in_proj", "x_proj", "out_proj"}
EXPECTED["gpt_oss"] = EXPECTED["mixtral"]

FUSED_EXPERTS = {"mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss"}


def tiny_model(family: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random model with weights large enough that activations differ between features."""
    torch.manual_seed(seed)
    config = FAMILIES[family]()
    if changes:
        config = type(config)(**{**config.to_dict(), **changes})
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3, generator=generator)
    model.config.use_cache = False
    return model.eval()


def random_windows(count: int = 3, length: int = 12, seed: int = 0) -> torch.Tensor:
    """Token ids ``[count, length]`` without the padding token."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (count, length), generator=generator)
