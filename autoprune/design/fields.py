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
# The end of the last one may be missing.
FENCE = re.compile(r"(`{3,}|~{3,})[^\n`]*\n(.*?)(?:\1|\Z)", re.DOTALL)
# Blocks without a definition may hold the lines that were asked for.
DEFINES = re.compile(r"^[ \t]*def\s+(?:score|prune_)", re.MULTILINE)
THOUGHTS_END = "</think>"


def without_thoughts(text: str) -> str:
    """Return what follows a reasoning model's thoughts, which may hold drafts of the answer."""
    return text.rpartition(THOUGHTS_END)[2]


def blocks_of(text: str) -> list[str]:
    """The blocks between fences."""
    return [found[2] for found in FENCE.finditer(text)]


def without_code(text: str) -> str:
    """Return what stands around code, whose variables and comments are no fields."""
    return FENCE.sub(lambda found: "\n" if DEFINES.search(found[2]) else found[0], text)


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
    for part in (text, *blocks_of(text)):
        if not part.lstrip().startswith("{"):
            continue
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return {name: value[name].strip() for name in NAMES if isinstance(value.get(name), str)}
    return {}
