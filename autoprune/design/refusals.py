"""What an endpoint's refusal of one request means, and whether the request can be asked otherwise.

A refused request is refused again, so it becomes a verdict on its slot and not the end of a search.
"""

import re
from typing import Any

import openai

from autoprune.errors import AutopruneError

# Statuses that speak of the request and not of the endpoint, the model's name or the key.
OF_THE_REQUEST = frozenset({400, 413, 422})
# What OpenAI, llama.cpp, vLLM and Azure write; read until one fits.
MEANINGS = (
    ("context_too_long", r"context[_ ](length|size|window)|maximum context|too (long|many tokens)"),
    ("truncated", r"output limit was reached|could not finish the message"),
    ("content_refused", r"content[_ ](filter|policy|management)|moderation|safety|flagged"),
)
OTHER_LIMIT = "max_completion_tokens"
UNSUPPORTED = re.compile(r"unsupported|not supported|does not support|unknown|unrecognized", re.I)


class RefusedError(AutopruneError):
    """An endpoint refuses one request; the next may be taken.

    Args:
        message: For people.
        code: ``context_too_long``, ``truncated``, ``content_refused`` or ``request_refused``.
        field: The field of the request that it does not take, empty where it names none.
    """

    def __init__(self, message: str, code: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


def is_of_the_request(error: openai.APIStatusError) -> bool:
    """Whether the refusal speaks of this request alone."""
    return error.status_code in OF_THE_REQUEST


def meaning_of(error: openai.APIStatusError) -> str:
    """The refusal's code."""
    if error.status_code == 413:
        return "context_too_long"
    words = f"{error.code or ''} {error.type or ''} {error.message}".lower()
    return next((code for code, form in MEANINGS if re.search(form, words)), "request_refused")


def refused_field(error: openai.APIStatusError, body: dict[str, Any]) -> str:
    """The field of ``body`` that the endpoint does not know or cannot set; empty for none."""
    words = f"{error.code or ''} {error.message}"
    if not UNSUPPORTED.search(words):
        return ""
    fields = [name for name in ("max_tokens", "temperature", "seed") if name in body]
    if error.param in fields:
        return str(error.param)
    return next((name for name in fields if re.search(rf"\b{name}\b", words)), "")
