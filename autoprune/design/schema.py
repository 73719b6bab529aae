"""JSON schemas of answers, for servers that enforce a schema but no grammar.

Schemas are flat, with all fields required and no others, as OpenAI's strict mode demands. It has no
string lengths, so the answer's token limit bounds them. Code is never requested in JSON.
"""

from collections.abc import Sequence
from typing import Any

from autoprune.design.grammar import asked_parts, offered_repairs, without
from autoprune.design.parts import Choices


def answer_schema(choices: Choices, *, part: str | None = None, now: str = "") -> dict[str, Any]:
    """Schema of an answer that :func:`autoprune.design.parsing.read_answer` reads."""
    values: dict[str, list[str]] = {
        "group": without(choices.groups, now),
        "repair": offered_repairs(choices, part, now),
    }
    fields: dict[str, Any] = {"because": _text(), "expect": _text()}
    for name in asked_parts(choices, part):
        fields[name] = _text(values.get(name, ()))
    return _object(fields)


def lesson_schema() -> dict[str, Any]:
    """Schema of a one-line lesson."""
    return _object({"lesson": _text()})


def _text(allowed: Sequence[str] = ()) -> dict[str, Any]:
    return {"type": "string", "enum": list(allowed)} if allowed else {"type": "string"}


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
