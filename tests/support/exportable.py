"""Tiny models that can become GGUF files: their tokenizers merge, over bytes and over pieces."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from autoprune.models.widths import WIDTHS, narrow_blocks

_TEXT = ["h e", "l l", "he ll", "hell o", "Ġ t", "Ġt h", "Ġth e", "i n", "a n", "Ġ a", "1 2", "Ġ Ġ"]
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _cuts(kind: str) -> pre_tokenizers.PreTokenizer:
    bytes_of = pre_tokenizers.ByteLevel
    if kind == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([first, bytes_of(add_prefix_space=False)])
    if kind in ("qwen2", "llama-bpe"):
        text = QWEN2 if kind == "qwen2" else QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
        first = pre_tokenizers.Split(Regex(text), "isolated")
        return pre_tokenizers.Sequence([first, bytes_of(add_prefix_space=False, use_regex=False)])
    return bytes_of(add_prefix_space=False)


def merging_tokenizer(kind: str = "gpt-2") -> PreTrainedTokenizerFast:
    """270 tokens: two special ones, 256 bytes, 12 merges; cut as llama.cpp's ``kind``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "</s>", *alphabet, *(text.replace(" ", "") for text in _TEXT)]
    merges = [tuple(text.split(" ")) for text in _TEXT]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = _cuts(kind)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>",
        chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}",
    )  # fmt: skip


def piece_tokenizer() -> PreTrainedTokenizerFast:
    """Llama 2's kind: pieces that begin words with a bar, bytes for the rest."""
    merges = ["▁ t", "▁t h", "▁th e", "h e", "l l", "he ll", "hell o", "▁ a", "i n", "▁ ▁"]
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *letters]
    tokens += [text.replace(" ", "") for text in merges]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = [tuple(text.split(" ")) for text in merges]
    model = models.BPE(vocabulary, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


CONFIGS = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
}


def saved(
    folder: Path,
    family: str = "llama",
    cut: str = "gpt-2",
    layers: int = 2,
    widths: Sequence[int] = (),
    seed: int = 0,
    **extra: object,
) -> Path:
    """A random model whose logits differ by nats, with a tokenizer that merges."""
    tokenizer = piece_tokenizer() if cut == "pieces" else merging_tokenizer(cut)
    values: dict[str, object] = {
        "vocab_size": len(tokenizer) + 2, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": len(widths) or layers, "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128, **({"head_dim": 128} if family == "qwen3" else {}), **extra,
    }  # fmt: skip
    config = getattr(transformers, CONFIGS[family])(**values)
    if widths:
        setattr(config, WIDTHS, list(widths))
        config.intermediate_size = max(widths)
    model = transformers.AutoModelForCausalLM.from_config(config)
    narrow_blocks(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(0.15 * noise if value.ndim > 1 else value + 0.1 * noise)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
