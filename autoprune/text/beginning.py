"""The tokens that a tokenizer puts before a text, found by probing it and never added twice.

Models such as Llama and Gemma saw a beginning token before every training text, and perform badly
without it (Gemma 3: perplexity 47 instead of 18). Like lm-evaluation-harness, we put it before
every window and every prompt of such a model.
"""

from typing import Any

# Any text would do; every vocabulary has one-letter words.
_PROBE = "a"
NONE = "none"


def beginning_ids(tokenizer: Any) -> list[int]:
    """Token ids that the tokenizer puts before a plain text: one, none, or rarely more."""
    plain = text_ids(tokenizer, _PROBE)
    whole: list[int] = list(tokenizer(_PROBE)["input_ids"])
    for length in range(len(whole) - len(plain) + 1):
        if whole[length : length + len(plain)] == plain:
            return whole[:length]
    return []


def beginning_rule(tokenizer: Any) -> str:
    """Name of the rule in records: the token as text, such as ``<bos>``, or ``none``."""
    tokens = tokenizer.convert_ids_to_tokens(beginning_ids(tokenizer))
    return " ".join(map(str, tokens)) or NONE


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text alone, without anything before or after it."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt, preceded by the beginning exactly once.

    A rendered chat template already contains the beginning token and gets no second one.
    """
    ids, beginning = text_ids(tokenizer, prompt), beginning_ids(tokenizer)
    return ids if ids[: len(beginning)] == beginning else beginning + ids


def special_ids(tokenizer: Any) -> set[int]:
    """Tokens that stand for no text, such as the marks between the turns of a conversation."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(n for n, token in added.items() if token.special)}
