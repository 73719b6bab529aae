"""Requests to a designer and its replies, independent of the transport."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autoprune.digest import digest_json

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "error"]
# Codes of requests that an endpoint refuses for their content, unlike answers that are too long.
REFUSALS = frozenset({"context_too_long", "content_refused", "request_refused"})


@dataclass(frozen=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True)
class ChatRequest:
    """Everything that determines an answer; its digest identifies the recorded answer.

    Args:
        messages: The conversation, with its constant part first so that servers can cache it.
        max_tokens: Token limit of the answer.
        temperature: Sampling temperature.
        seed: Sampling seed, sent but never relied on.
        grammar: GBNF grammar of the answer, for servers that enforce one.
        schema: JSON schema of the same answer, for servers that enforce only that.
        model: Which of the designer's models to ask; None: its first or only one.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    seed: int
    grammar: str | None = None
    schema: Mapping[str, Any] | None = None
    model: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the whole request."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        body = {
            "messages": [{"role": m.role, "content": m.content} for m in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "grammar": self.grammar,
            "schema": self.schema,
        }
        return body if self.model is None else body | {"model": self.model}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ChatRequest":
        """Inverse of :meth:`to_json`."""
        return cls(
            messages=tuple(Message(m["role"], m["content"]) for m in value["messages"]),
            max_tokens=value["max_tokens"],
            temperature=value["temperature"],
            seed=value["seed"],
            grammar=value["grammar"],
            schema=value["schema"],
            model=value.get("model"),
        )


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as counted by the server; 0 if it does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Reply:
    """A designer's answer.

    Args:
        text: Raw text, untrusted.
        usage: Tokens used.
        finish_reason: ``length`` means the text is cut off.
        seconds: Wall-clock time of the call.
        constraint: How the form of the answer was sent to the server; empty: it was not.
        waited: Seconds of the call during which the search did nothing else; None: all of them.
    """

    text: str
    usage: Usage = Usage()
    finish_reason: FinishReason = "stop"
    seconds: float = 0.0
    constraint: str = ""
    waited: float | None = None
