"""The tokens that end an answer, from all places that name them.

A tokenizer names one. A checkpoint's generation settings may name more (Gemma's ``<end_of_turn>``,
Phi's ``<|end|>``), and a chat template shows what follows an answer; for a GGUF file this may be
the only source.
"""

from collections.abc import Collection, Sequence
from typing import Any

from jinja2 import TemplateError

from autoprune.models.loading import LoadedModel
from autoprune.text.beginning import special_ids, text_ids

# No template changes this text, and no tokenizer merges it with what follows.
_ANSWER = "answer."


def ending_ids(loaded: LoadedModel) -> list[int]:
    """Token ids that end an answer, ascending; empty if none is known."""
    named = getattr(loaded.model.generation_config, "eos_token_id", None)
    known = [loaded.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    behind = text_ids(loaded.tokenizer, behind_answers(loaded.tokenizer))[:1]
    known += [token for token in behind if token in special_ids(loaded.tokenizer)]
    return sorted({token for token in known if token is not None})


def behind_answers(tokenizer: Any) -> str:
    """Text that the chat template writes after an answer; empty if there is none."""
    if not getattr(tokenizer, "chat_template", None):
        return ""
    conversation = [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": _ANSWER},
    ]
    try:
        text: str = tokenizer.apply_chat_template(conversation, tokenize=False)
    except TemplateError:
        return ""
    return text.rpartition(_ANSWER)[2]


def until_ending(row: Sequence[int], ends: Collection[int]) -> list[int]:
    """The tokens before the first ending; only padding follows it."""
    place = next((n for n, token in enumerate(row) if token in ends), len(row))
    return list(row[:place])
