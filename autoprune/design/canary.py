"""What a server really enforces, found by asking for what no model would say by chance.

Servers answer 200 and drop a constraint without a word, so nothing is believed before it is seen.
"""

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from autoprune.design.transports import Enforcement, OpenAIDesigner, read_completion
from autoprune.errors import AutopruneError, PrerequisiteError

QUESTION = [{"role": "user", "content": "Name one colour."}]


@dataclass(frozen=True)
class Canary:
    """What was seen.

    Args:
        enforcement: How a grammar has to be sent, ``none`` when none is enforced.
        json_schema: A JSON schema is enforced.
        stop_reason: A cut-off answer says ``length``.
        model: Name of the model that answered.
        seconds: Wall-clock time of all calls.
    """

    enforcement: Enforcement
    json_schema: bool
    stop_reason: bool
    model: str
    seconds: float

    def __str__(self) -> str:
        schema = "enforced" if self.json_schema else "ignored"
        stop = "honest" if self.stop_reason else "missing"
        return f"{self.model}: grammar {self.enforcement}, JSON schema {schema}, stop reason {stop}"


def probe_server(designer: OpenAIDesigner) -> Canary:
    """Ask a handful of tiny questions and set ``designer.enforcement`` to what holds.

    Raises:
        PrerequisiteError: If the server does not answer at all.
    """
    started = time.monotonic()
    token = "q" + secrets.token_hex(4)
    grammar = f'root ::= "{token}"'
    enforcement: Enforcement = "none"
    forms: tuple[tuple[Enforcement, dict[str, Any]], ...] = (
        ("grammar", {"grammar": grammar}),
        ("structured_outputs", {"structured_outputs": {"grammar": grammar}}),
    )
    for name, extra in forms:
        if _says(designer, token, extra_body=extra):
            enforcement = name
            break
    designer.enforcement = enforcement
    return Canary(
        enforcement=enforcement,
        json_schema=_follows_schema(designer, token),
        stop_reason=_admits_cut(designer),
        model=designer.name,
        seconds=time.monotonic() - started,
    )


def _ask(designer: OpenAIDesigner, **body: Any) -> tuple[str, str]:
    try:
        answer = designer.raw(messages=QUESTION, temperature=0.0, **body)
    except PrerequisiteError:
        raise
    except AutopruneError:
        # An honest refusal of an unknown field: the feature is not there.
        return "", "refused"
    reply = read_completion(answer, 0.0)
    return reply.text, reply.finish_reason


def _says(designer: OpenAIDesigner, token: str, **body: Any) -> bool:
    text, _ = _ask(designer, max_tokens=24, **body)
    return text.strip() == token


def _follows_schema(designer: OpenAIDesigner, token: str) -> bool:
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": [token]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    text, _ = _ask(designer, max_tokens=48, response_format=form)
    try:
        return bool(json.loads(text) == {"colour": token})
    except ValueError:
        return False


def _admits_cut(designer: OpenAIDesigner) -> bool:
    _, reason = _ask(designer, max_tokens=1)
    return reason == "length"
