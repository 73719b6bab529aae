"""Interpret an endpoint's refusal of one request, and find the field to change, if any.

A refused request would be refused again, so it fails its slot instead of ending the search.
"""

import re
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError

if TYPE_CHECKING:
    import openai

# Statuses that concern the request, not the endpoint, the model's name or the key.
OF_THE_REQUEST = frozenset({400, 413, 422})
# Messages of OpenAI, llama.cpp, vLLM and Azure; the first match counts.
MEANINGS = (
    ("context_too_long", r"context[_ ](length|size|window)|maximum context|too (long|many tokens)"),
    ("truncated", r"output limit was reached|could not finish the message"),
    ("content_refused", r"content[_ ](filter|policy|management)|moderation|safety|flagged"),
)
OTHER_LIMIT = "max_completion_tokens"
UNSUPPORTED = re.compile(r"unsupported|not supported|does not support|unknown|unrecognized", re.I)


class RequestRefusedError(AutopruneError):
    """An endpoint refuses one request but may accept the next.

    Args:
        message: Message for people.
        code: ``context_too_long``, ``truncated``, ``content_refused`` or ``request_refused``.
        field: The field of the request that it does not accept; empty if it names none.
    """

    def __init__(self, message: str, code: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


def is_of_the_request(error: "openai.APIStatusError") -> bool:
    """Whether the refusal concerns only this request."""
    return error.status_code in OF_THE_REQUEST


def meaning_of(error: "openai.APIStatusError") -> str:
    """Return the code of a refusal."""
    if error.status_code == 413:
        return "context_too_long"
    words = f"{error.code or ''} {error.type or ''} {error.message}".lower()
    return next((code for code, form in MEANINGS if re.search(form, words)), "request_refused")


def refused_field(error: "openai.APIStatusError", body: dict[str, Any]) -> str:
    """Return the field of ``body`` that the endpoint does not support; empty if there is none."""
    words = f"{error.code or ''} {error.message}"
    if not UNSUPPORTED.search(words):
        return ""
    fields = [name for name in ("max_tokens", "temperature", "seed") if name in body]
    if error.param in fields:
        return str(error.param)
    return next((name for name in fields if re.search(rf"\b{name}\b", words)), "")
