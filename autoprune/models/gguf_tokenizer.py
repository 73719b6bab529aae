"""A tokenizer as metadata of a GGUF file."""

import json
from collections.abc import Sequence
from typing import Any

import gguf
from gguf import TokenType

from autoprune.errors import UsageError

# How llama.cpp splits a text before merging; the patterns are those in the tokenizers' own files,
# the names those of `src/llama-vocab.cpp`.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_CUTS: dict[tuple[str, ...], str] = {
    ("bytes",): "gpt-2",
    ("digits", "bytes"): "smollm",
    (_QWEN2,): "qwen2",
    (_LLAMA3,): "llama-bpe",
}


def copy_fields(
    writer: gguf.GGUFWriter, reader: Any, prefixes: tuple[str, ...], *, but: tuple[str, ...] = ()
) -> None:
    """Copy metadata of another GGUF file unchanged."""
    for name, field in reader.fields.items():
        if name.startswith(prefixes) and name not in but:
            kinds = field.types
            writer.add_key_value(
                name, field.contents(), kinds[0], sub_type=kinds[-1] if len(kinds) > 1 else None
            )


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    """Write vocabulary, merges, special tokens and chat template."""
    rules = _rules(tokenizer)
    model = rules["model"]
    tokens = _tokens(tokenizer, size)
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    if not merges:
        raise UsageError("the tokenizer has no merges, and llama.cpp opens no file without any")
    if model.get("byte_fallback"):
        _add_pieces(writer, tokenizer, rules, tokens, merges)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_cut(rules))
        writer.add_token_list(tokens)
        writer.add_token_types(_types(rules, tokens))
        writer.add_token_merges([" ".join(pair) for pair in merges])
        writer.add_add_space_prefix(False)
    _add_special(writer, tokenizer)


def _rules(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    kind = rules.get("model", {}).get("type")
    if kind != "BPE":
        raise UsageError(
            f"the tokenizer is of the kind {kind or type(tokenizer).__name__}; byte-pair encoding "
            "(BPE) of a tokenizer.json is written as GGUF"
        )
    return rules


def _tokens(tokenizer: Any, size: int) -> list[str]:
    """Tokens by number; an unused number is named ``[PAD7]``, as in llama.cpp."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    for token, number in tokenizer.get_vocab().items():
        if number >= size:
            raise UsageError(
                f"the token {token!r} has the number {number}, and the model has {size} rows of "
                "embeddings; give the folder the tokenizer that belongs to its model"
            )
        tokens[number] = token
    return tokens


def _types(rules: dict[str, Any], tokens: Sequence[str]) -> list[int]:
    known = rules["model"]["vocab"]
    added = {token["content"]: token["special"] for token in rules["added_tokens"]}
    found = []
    for token in tokens:
        if token in added:
            kind = TokenType.CONTROL if added[token] else TokenType.USER_DEFINED
        else:
            kind = TokenType.NORMAL if token in known else TokenType.UNUSED
        found.append(int(kind))
    return found


def _cut(rules: dict[str, Any]) -> str:
    """``tokenizer.ggml.pre``."""
    steps = rules["pre_tokenizer"] or {}
    parts: list[str] = []
    for step in steps.get("pretokenizers", [steps]):
        kind = step.get("type")
        if kind == "Split":
            parts.append(step["pattern"].get("Regex", ""))
        elif kind == "Digits" and step["individual_digits"]:
            parts.append("digits")
        elif kind == "ByteLevel" and not step["add_prefix_space"]:
            parts += ["bytes"] if step["use_regex"] else []
        else:
            parts.append(str(kind))
    if tuple(parts) not in _CUTS:
        raise UsageError(
            f"the tokenizer cuts texts in a way that has no known name in llama.cpp ({parts}); "
            f"known: {', '.join(sorted(set(_CUTS.values())))}"
        )
    return _CUTS[tuple(parts)]


def _add_pieces(
    writer: gguf.GGUFWriter,
    tokenizer: Any,
    rules: dict[str, Any],
    tokens: Sequence[str],
    merges: Sequence[Sequence[str]],
) -> None:
    """Llama 2's kind: pieces with scores, and bytes for what no piece covers.

    A score is the rank of the merge that makes the piece, best first, so that llama.cpp and the
    merges choose the same pair.
    """
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    kinds = [
        int(TokenType.BYTE) if token.startswith("<0x") and len(token) == 6 else kind
        for token, kind in zip(tokens, _types(rules, tokens), strict=True)
    ]
    unknown = rules["model"].get("unk_token")
    kinds = [
        int(TokenType.UNKNOWN) if token == unknown else kind
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(tokens))
    writer.add_token_scores([-float(ranks.get(token, len(merges))) for token in tokens])
    writer.add_token_types(kinds)
    # "a" becomes "▁a" if the tokenizer puts a space before a text.
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False).input_ids)
    writer.add_add_space_prefix(first[0].startswith("▁"))


def _add_special(writer: gguf.GGUFWriter, tokenizer: Any) -> None:
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    ids = tokenizer("a").input_ids
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    writer.add_add_bos_token(begin is not None and ids[0] == begin)
    writer.add_add_eos_token(end is not None and ids[-1] == end)
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = [{"name": name, "template": text} for name, text in template.items()]
    if template:
        writer.add_chat_template(template)
