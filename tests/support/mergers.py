"""Tokenizers with a few merges, as GGUF files hold them, over bytes and over pieces."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

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
