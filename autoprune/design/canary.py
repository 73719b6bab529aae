"""Find out what a server really enforces by asking for text that no model would say by chance.

Servers may answer 200 and silently drop a constraint, so every constraint is tested. The ladder,
strictest step first: our grammar as a field of the request (llama.cpp), the same inside
``structured_outputs`` (vLLM), a JSON schema (OpenAI and most others), unconstrained text.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autoprune.design.refusals import RequestRefusedError
from autoprune.design.transports import (
    Enforcement,
    OpenAIDesigner,
    json_format,
    read_completion,
)

QUESTION = [{"role": "user", "content": "Name one colour."}]
# Enough for the answers requested here; a reasoning model needs as many as for real answers.
SHORT = 48
HOW: dict[Enforcement, str] = {
    "grammar": "by our grammar",
    "structured_outputs": "by our grammar (structured_outputs)",
    "json_schema": "by JSON schema",
    "none": "as plain text",
}


@dataclass(frozen=True)
class Canary:
    """Findings about a server.

    Args:
        enforcement: The step of the ladder that works; ``none``: answers are plain text.
        json_schema: Whether a JSON schema is enforced; None: not tested, as a stricter step works.
        stop_reason: Whether a cut-off answer says ``length``.
        model: Name of the model that answered.
        seconds: Wall-clock time of all calls.
        fields: Request fields that the server has under another name, or (None) not at all.
    """

    enforcement: Enforcement
    json_schema: bool | None
    stop_reason: bool
    model: str
    seconds: float
    fields: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        words = {None: "not asked", True: "enforced", False: "ignored"}
        stop = "honest" if self.stop_reason else "missing"
        text = f"{self.model}: answers {HOW[self.enforcement]}"
        text += f", JSON schema {words[self.json_schema]}, stop reason {stop}"
        for name, other in self.fields.items():
            text += f", {other} for {name}" if other else f", no {name}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; ``Canary(**value)`` reads it back."""
        return asdict(self)


def probe_server(designer: OpenAIDesigner, *, thorough: bool = True, tokens: int = SHORT) -> Canary:
    """Ask a handful of tiny questions and set ``designer.enforcement`` to the step that works."""
    started = time.monotonic()
    asking = _Asking(designer, max(tokens, SHORT))
    token = "q" + secrets.token_hex(4)
    constrained = {"grammar": f'root ::= "{token}"'}
    step: Enforcement = "none"
    if asking.says(token, extra_body=constrained):
        step = "grammar"
    elif asking.says(token, extra_body={"structured_outputs": constrained}):
        step = "structured_outputs"
    schema = asking.follows_schema(token) if thorough or step == "none" else None
    if step == "none" and schema:
        step = "json_schema"
    designer.enforcement = step
    stop = asking.admits_cut()
    if asking.refused is not None and not asking.answers:
        raise asking.refused
    seconds = time.monotonic() - started
    return Canary(step, schema, stop, designer.name, seconds, dict(designer.fields))


class _Asking:
    """Ask questions, count the answers and keep the last refusal."""

    def __init__(self, designer: OpenAIDesigner, tokens: int) -> None:
        self.designer = designer
        self.tokens = tokens
        self.answers = 0
        self.refused: RequestRefusedError | None = None

    def says(self, token: str, **body: Any) -> bool:
        text, _ = self._ask(max_tokens=self.tokens, **body)
        return text.strip() == token

    def follows_schema(self, token: str) -> bool:
        schema = {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": [token]}},
            "required": ["colour"],
            "additionalProperties": False,
        }
        text, _ = self._ask(max_tokens=self.tokens, response_format=json_format(schema))
        try:
            return bool(json.loads(text) == {"colour": token})
        except ValueError:
            return False

    def admits_cut(self) -> bool:
        _, reason = self._ask(max_tokens=1)
        return reason == "length"

    def _ask(self, **body: Any) -> tuple[str, str]:
        try:
            answer = self.designer.raw(messages=QUESTION, temperature=0.0, **body)
        except RequestRefusedError as error:
            # The server honestly refuses an unknown field, so it lacks the feature.
            self.refused = error
            return "", "refused"
        self.answers += 1
        reply = read_completion(answer, 0.0)
        return reply.text, reply.finish_reason
