"""Model families supported as GGUF files: configuration metadata, tensor names and layouts.

What llama.cpp reads of each architecture is in its ``src/models``; the layout of llama's query and
key rows, and the factors of Llama 3's positions, are those of its ``convert_hf_to_gguf.py``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.gguf_types import Floats
from autoprune.models.widths import widths_of


@dataclass(frozen=True)
class Family:
    """One architecture of llama.cpp.

    Args:
        arch: Its number in the ``gguf`` package.
        interleaved: Query and key rows of a head are in pairs, as llama.cpp rotates them.
        bias: Query, key and value have a bias in every block.
        head_norms: Query and key are normalised per head.
    """

    arch: gguf.MODEL_ARCH
    interleaved: bool = False
    bias: bool = False
    head_norms: bool = False

    @property
    def name(self) -> str:
        """``general.architecture``."""
        return str(gguf.MODEL_ARCH_NAMES[self.arch])

    def required(self, blocks: int, *, tied: bool) -> set[str]:
        """Tensors without which llama.cpp does not load the model."""
        parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"]
        parts += ["ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
        parts += ["attn_q_norm", "attn_k_norm"] if self.head_norms else []
        names = {f"blk.{i}.{part}.weight" for i in range(blocks) for part in parts}
        if self.bias:
            names |= {f"blk.{i}.attn_{part}.bias" for i in range(blocks) for part in "qkv"}
        head = set() if tied else {"output.weight"}
        return names | {"token_embd.weight", "output_norm.weight"} | head


# Keys: `model_type` of a configuration.
FAMILIES = {
    "llama": Family(gguf.MODEL_ARCH.LLAMA, interleaved=True),
    # What llama computes, where no window slides.
    "mistral": Family(gguf.MODEL_ARCH.LLAMA, interleaved=True),
    "qwen2": Family(gguf.MODEL_ARCH.QWEN2, bias=True),
    "qwen3": Family(gguf.MODEL_ARCH.QWEN3, head_norms=True),
}
# That of DeciLM and Nemotron computes what llama does, with heads and neurons for each block. Rows
# of queries and keys in its order serve other families, and it reads biases where a file has some.
_BY_BLOCK = Family(gguf.MODEL_ARCH.DECI, interleaved=True)


def family_of(model_type: str) -> Family:
    """The family of a configuration, or of the architecture that a GGUF file names."""
    if model_type not in FAMILIES:
        raise UsageError(
            f"models of the family {model_type!r} are not written as GGUF here; known: "
            f"{', '.join(FAMILIES)}; llama.cpp's convert_hf_to_gguf.py takes many more, from the "
            "same folder"
        )
    return FAMILIES[model_type]


def fitting(family: Family, config: PretrainedConfig, where: Path) -> Family:
    """The family that computes this model in llama.cpp: another one where shapes are unusual.

    Blocks may have MLPs of different widths; and llama.cpp's qwen2 takes no attention that is
    narrower or wider than the hidden state.
    """
    across = config.num_attention_heads * head_size(config)
    square = family.arch != gguf.MODEL_ARCH.QWEN2 or across == config.hidden_size
    if square and not widths_of(config):
        return family
    if family.head_norms:
        raise UsageError(
            f"the blocks of {where} have MLPs of different widths, which llama.cpp computes as "
            f"{_BY_BLOCK.name} alone, and that lacks the norms of queries and keys of "
            f"{family.name}; make it smaller without rates of its own to export it: --scheme width"
        )
    return replace(_BY_BLOCK, bias=family.bias)


def head_size(config: PretrainedConfig) -> int:
    """Width of an attention head."""
    given = getattr(config, "head_dim", None)
    return int(given or config.hidden_size // config.num_attention_heads)


def add_metadata(writer: gguf.GGUFWriter, config: PretrainedConfig, family: Family) -> None:
    """Write the parts of the configuration that llama.cpp reads."""
    if getattr(config, "use_sliding_window", False):
        raise UsageError(
            f"the model attends within a sliding window, which llama.cpp's {family.name} does not "
            "compute; set use_sliding_window to false in its config.json if it was not trained so"
        )
    window = getattr(config, "sliding_window", None)
    if config.model_type == "mistral" and window and window < config.max_position_embeddings:
        raise UsageError(
            f"the model attends within a sliding window of {window:,} tokens, which llama.cpp's "
            f"{family.name} does not compute; set sliding_window to null in its config.json if it "
            "was not trained so"
        )
    activation = getattr(config, "hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise UsageError(
            f"the model's activation is {activation!r}; llama.cpp's {family.name} computes silu"
        )
    size = head_size(config)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    widths = list(widths_of(config))
    if family.arch == _BY_BLOCK.arch and not widths:
        widths = [config.intermediate_size] * config.num_hidden_layers
    blocks = len(widths)
    writer.add_feed_forward_length(widths or config.intermediate_size)
    writer.add_head_count([heads] * blocks or heads)
    writer.add_head_count_kv([groups] * blocks or groups)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(size)
    rope = _rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def rope_factors(config: PretrainedConfig) -> Floats | None:
    """Llama 3's frequency factors, float32 ``[head / 2]``; None if there are none."""
    rope = _rope(config)
    return llama3_factors(rope, head_size(config)) if rope["rope_type"] == "llama3" else None


def llama3_factors(rope: Mapping[str, Any], size: int) -> Floats:
    """Llama 3's frequency factors, float32 ``[head / 2]``."""
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    context, factor = rope["original_max_position_embeddings"], float(rope["factor"])
    found = []
    for index in range(0, size, 2):
        wave = 2 * math.pi * float(rope["rope_theta"]) ** (index / size)
        if wave < context / high:
            found.append(1.0)
        elif wave > context / low:
            found.append(factor)
        else:
            smooth = (context / wave - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, dtype=np.float32)


def _rope(config: PretrainedConfig) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, **(config.rope_parameters or {})}
    if rope["rope_type"] not in ("default", "linear", "llama3"):
        raise UsageError(
            f"positions of the type {rope['rope_type']!r} are not written as GGUF here; known: "
            "default, linear, llama3"
        )
    return rope


def tensor_names(names: Iterable[str], blocks: int, family: Family, tied: bool) -> dict[str, str]:
    """Map the GGUF name to the checkpoint's name, for every tensor that the file needs."""
    table = gguf.get_tensor_name_map(family.arch, blocks)
    found: dict[str, str] = {}
    for name in names:
        if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
            continue
        known = table.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise AutopruneError(
                f"the tensor {name} has no place in a GGUF file of {family.name} with {blocks} "
                "blocks; was it made by a newer method, or is config.json another model's?"
            )
        found[known] = name
    missing = sorted(family.required(blocks, tied=tied) - found.keys())
    if missing:
        raise AutopruneError(
            f"the checkpoint lacks {len(missing)} tensors that {family.name} with {blocks} blocks "
            f"needs, {missing[0]} first; is it complete, and is config.json its own?"
        )
    return found


def to_gguf(
    name: str, weight: NDArray[Any], config: PretrainedConfig, family: Family
) -> NDArray[Any]:
    """Rows in llama.cpp's order: the halves of a head's query and key become pairs."""
    return _reorder(name, weight, config, family, 2)


def from_gguf(
    name: str, weight: NDArray[Any], config: PretrainedConfig, family: Family
) -> NDArray[Any]:
    """Inverse of :func:`to_gguf`."""
    return _reorder(name, weight, config, family, head_size(config) // 2)


def _reorder(
    name: str, weight: NDArray[Any], config: PretrainedConfig, family: Family, first: int
) -> NDArray[Any]:
    part = name.split(".")[-2]
    if not family.interleaved or part not in ("attn_q", "attn_k"):
        return weight
    size = head_size(config)
    heads = weight.reshape(-1, first, size // first, *weight.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(weight.shape)
