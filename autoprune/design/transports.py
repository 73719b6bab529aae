"""Transports to a designer: an OpenAI-compatible server, files, or a script for tests."""

import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from autoprune.design.chat import ChatRequest, FinishReason, Reply, Usage
from autoprune.design.refusals import (
    OTHER_LIMIT,
    RequestRefusedError,
    is_of_the_request,
    meaning_of,
    refused_field,
)
from autoprune.errors import AutopruneError, PrerequisiteError, UsageError, reason_of
from autoprune.lazy import require

# Imported where a server is asked, since that takes a second; a missing package is found here.
require("openai")

# How the form of an answer is sent to a server, strictest first; ``none``: not at all.
Enforcement = Literal["grammar", "structured_outputs", "json_schema", "none"]

# Longest pause unless the server asks for a longer one.
LONGEST_PAUSE = 30.0
OPENAI = "https://api.openai.com/v1"
# An attempt with less time is not started; timeouts must not be zero.
SHORTEST_ATTEMPT = 0.1


class Designer(Protocol):
    """Anything that answers a request."""

    @property
    def name(self) -> str:
        """Recorded name."""
        ...

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request."""
        ...


@dataclass
class OpenAIDesigner:
    """Any OpenAI-compatible server; the only place where calls are retried.

    Args:
        base_url: Address of the server; None: ``OPENAI_BASE_URL``, else OpenAI's own.
        model: Name on the server; None: the first that the server lists.
        api_key: Key of the server; None: ``OPENAI_API_KEY``. Local servers need none.
        enforcement: How the form of an answer is sent, as found by the canary.
        timeout: Seconds for one attempt; less if patience ends sooner.
        attempts: Maximum number of calls for one request.
        patience: Seconds for one request, including all attempts and pauses.
    """

    base_url: str | None = None
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    enforcement: Enforcement = "none"
    timeout: float = 120.0
    attempts: int = 4
    patience: float = 300.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        import openai

        self._key = self.api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self.base_url = self.base_url or os.environ.get("OPENAI_BASE_URL") or None
        # This endpoint's names for the fields of a request; None: it does not accept the field.
        self.fields: dict[str, str | None] = {}
        self._client = openai.OpenAI(
            # Named, since the client would take an empty OPENAI_BASE_URL for an address.
            base_url=self.base_url or OPENAI,
            api_key=self._key,
            timeout=self.timeout,
            max_retries=0,
        )

    @property
    def name(self) -> str:
        """Name of the model, requested from the server if not given."""
        if self.model is None:
            self.model = self._first_model()
        return self.model

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request; see :class:`Designer`."""
        started = time.monotonic()
        form = self._form(request)
        answer = self.raw(
            messages=[{"role": m.role, "content": m.content} for m in request.messages],
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            **form,
        )
        reply = read_completion(answer, time.monotonic() - started)
        return replace(reply, constraint=self.enforcement if form else "")

    def raw(self, **body: Any) -> Any:
        """Make one call with a body of the caller's choice, adapted to this endpoint's fields.

        Reasoning models want ``max_completion_tokens`` for ``max_tokens`` and no temperature; the
        endpoint's first refusal of a field is remembered.
        """
        learnt: list[str] = []
        while True:
            named = {self.fields.get(name, name): value for name, value in body.items()}
            sent = {"model": self.name, **{n: value for n, value in named.items() if n}}
            try:
                return self._repeat(sent)
            except RequestRefusedError as error:
                if not error.field:
                    # Take back changes that did not help; other threads may have learnt what does.
                    for name in learnt:
                        self.fields.pop(name, None)
                    raise
                limit = error.field == "max_tokens"
                self.fields[error.field] = OTHER_LIMIT if limit else None
                learnt.append(error.field)

    def _form(self, request: ChatRequest) -> dict[str, Any]:
        """Return the fields that constrain an answer, as this server's enforcement requires."""
        if self.enforcement == "json_schema" and request.schema is not None:
            return {"response_format": json_format(request.schema)}
        if request.grammar is None or self.enforcement not in ("grammar", "structured_outputs"):
            return {}
        sent = {"grammar": request.grammar}
        direct = self.enforcement == "grammar"
        return {"extra_body": sent if direct else {"structured_outputs": sent}}

    def _first_model(self) -> str:
        listed = self._repeat(None)
        names = [model.id for model in getattr(listed, "data", None) or []]
        if not names:
            raise UsageError(f"{self._where} lists no model; name one with --designer-model")
        return str(names[0])

    @property
    def _where(self) -> str:
        # An address from the environment may contain a login, and messages are recorded.
        place = re.sub(r"(?<=://)[^/]*@", "", self.base_url or "api.openai.com")
        return f"the designer at {place}"

    def _call(self, body: dict[str, Any] | None, timeout: float) -> Any:
        if body is None:
            return self._client.models.list(timeout=timeout)
        return self._client.chat.completions.create(**body, timeout=timeout)

    def _repeat(self, body: dict[str, Any] | None) -> Any:
        """Retry a call until there is an answer; ``body`` None: request the list of models."""
        import openai

        # Time-outs are errors of the connection.
        retried = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)
        deadline = time.monotonic() + self.patience
        for attempt in range(1, self.attempts + 1):
            left = deadline - time.monotonic()
            try:
                return self._call(body, min(self.timeout, max(left, SHORTEST_ATTEMPT)))
            except retried as error:
                left = deadline - time.monotonic() - SHORTEST_ATTEMPT
                asked = _asked_pause(error)
                if asked is not None and asked > left:
                    raise PrerequisiteError(
                        f"{self._where} asks to be left alone for {asked:.0f} seconds "
                        f"({self._scrub(error)}), and one request may take {self.patience:.0f} "
                        "in all; continue later, or choose another with --base-url or "
                        "OPENAI_BASE_URL"
                    ) from None
                pause = min(2.0 ** (attempt - 1), LONGEST_PAUSE) if asked is None else asked
                if attempt == self.attempts or pause > left:
                    raise PrerequisiteError(
                        f"{self._where} does not answer ({self._scrub(error)}) after {attempt} "
                        "attempts; start it, or choose another with --base-url or OPENAI_BASE_URL"
                    ) from None
                self.sleep(pause)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise PrerequisiteError(
                    f"{self._where} refuses the key ({self._scrub(error)}); set OPENAI_API_KEY"
                ) from None
            except openai.APIStatusError as error:
                words = (
                    f"{self._where} refuses the request ({self._scrub(error)}); "
                    "check the model's name and the server's log"
                )
                if body is None or not is_of_the_request(error):
                    raise AutopruneError(words) from None
                field = refused_field(error, body)
                raise RequestRefusedError(words, meaning_of(error), field) from None
            except (openai.APIError, ValueError, TypeError) as error:
                raise AutopruneError(
                    f"{self._where} does not follow the OpenAI protocol "
                    f"({self._scrub(error)}); check the address, it usually ends in /v1"
                ) from None
        raise AssertionError("attempts is at least 1")

    def _scrub(self, error: Exception) -> str:
        text = reason_of(error, None, named=True)
        # Before it is cut, so that no part of the key is left at the end.
        return (text.replace(self._key, "***") if len(self._key) > 4 else text)[:200]


def json_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field ``response_format`` that requests an answer by a JSON schema."""
    named = {"name": "answer", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def read_completion(answer: Any, seconds: float) -> Reply:
    """Make a reply from a completion, whatever fields the server omits."""
    usage = getattr(answer, "usage", None)
    counted = Usage(
        int(getattr(usage, "prompt_tokens", 0) or 0),
        int(getattr(usage, "completion_tokens", 0) or 0),
    )
    choices = getattr(answer, "choices", None) or []
    if not choices:
        return Reply("", counted, "error", seconds)
    content = getattr(getattr(choices[0], "message", None), "content", None)
    reasons: dict[Any, FinishReason] = {"stop": "stop", "length": "length"}
    reason = reasons.get(getattr(choices[0], "finish_reason", None), "error")
    return Reply(content if isinstance(content, str) else "", counted, reason, seconds)


def _asked_pause(error: Exception) -> float | None:
    """Seconds that the server asks to wait, never to be shortened; None if it does not say."""
    response = getattr(error, "response", None)
    text = response.headers.get("retry-after") if response is not None else None
    if text is None:
        return None
    try:
        asked = float(text)
    except ValueError:
        try:
            asked = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(asked) else max(asked, 0.0)


@dataclass
class FilesDesigner:
    """Answers written to a folder by others; see :mod:`autoprune.design.mailbox`.

    Args:
        name: Name of the answering side, given by the user; may be empty.
        received: Answers by the digest of their request, shared by all models of a run.
    """

    name: str
    received: dict[str, Reply]

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request; see :class:`Designer`."""
        try:
            return self.received.pop(request.digest)
        except KeyError:
            raise PrerequisiteError(
                f"nobody has answered the question {request.digest[:8]} yet; continue when its "
                "answer is in the folder of questions"
            ) from None


@dataclass
class ScriptedDesigner:
    """Answers from a list or a function, for tests and replays.

    A list is indexed by the request's digest instead of the order of calls, so an interrupted and
    an uninterrupted search get the same answers.
    """

    answers: Sequence[str] | Callable[[ChatRequest], str]
    name: str = "scripted"
    requests: list[ChatRequest] = field(default_factory=list)

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request; see :class:`Designer`."""
        self.requests.append(request)
        if callable(self.answers):
            text = self.answers(request)
        else:
            text = self.answers[int(request.digest[:8], 16) % len(self.answers)]
        prompt = sum(len(message.content) for message in request.messages)
        return Reply(text, Usage(prompt // 4, len(text) // 4))
