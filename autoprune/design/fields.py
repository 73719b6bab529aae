"""The named fields and the blocks of code of an untrusted answer."""

import json
import re

NAMES = (
    *("because", "expect", "metric", "scheme", "group", "allocation", "repair", "solver"),
    "lesson",
)
# Lines may be numbered or have bullets.
FIELD = re.compile(
    r"^[\s>*_#`+\u2022-]*(?:\d{1,2}[.)][\s*_`]*)?"
    rf"({'|'.join(NAMES)})[\s*_`]*[:=][\s*_`]*(.*?)[\s`*]*$",
    re.IGNORECASE,
)
FENCE = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
THOUGHTS_END = "</think>"


def without_thoughts(text: str) -> str:
    """Return what follows a reasoning model's thoughts, which may hold drafts of the answer."""
    return text.rpartition(THOUGHTS_END)[2]


def fields_of(text: str) -> dict[str, str]:
    """Read the fields of an answer: one JSON object, or lines of which the first one counts."""
    found = _json_fields(text)
    if found:
        return found
    for line in text.splitlines():
        match = FIELD.match(line[:4000])
        if match and match[1].lower() not in found:
            found[match[1].lower()] = match[2].strip()
    return found


def _json_fields(text: str) -> dict[str, str]:
    """Read the fields of an answer that is one JSON object, bare or in a block."""
    for part in (text, *FENCE.findall(text)):
        if not part.lstrip().startswith("{"):
            continue
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return {name: value[name].strip() for name in NAMES if isinstance(value.get(name), str)}
    return {}
