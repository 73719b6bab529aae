"""Parse lists of methods: commas and plus signs separate only outside brackets."""

import re

_OPEN, _CLOSE = "([{", ")]}"
_PARAMETER = re.compile(r"\s*[a-z_]+\s*=")
TEXT_NAME = "[a-z0-9][a-z0-9_-]*"
_ON_TEXT = re.compile(rf"(.+)@({TEXT_NAME})\s*")


def split_outside(text: str, mark: str) -> list[str]:
    """Split at ``mark``, but not inside brackets; pieces are stripped, empty ones kept."""
    pieces, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == mark and depth == 0:
            pieces.append(text[start:position].strip())
            start = position + 1
    pieces.append(text[start:].strip())
    return pieces


def split_text(text: str) -> tuple[str, str]:
    """A method and the name of its calibration text, empty if there is none: ``wanda+mrp@own``."""
    found = _ON_TEXT.fullmatch(text)
    return (found[1].strip(), found[2]) if found else (text, "")


def split_list(text: str) -> list[str]:
    """Split a list at commas; ``a:x=1,y=2,b`` is two items, because ``y=2`` belongs to ``a``."""
    items: list[str] = []
    for piece in split_outside(text, ","):
        if items and _PARAMETER.match(piece):
            items[-1] += f",{piece}"
        elif piece:
            items.append(piece)
    return items
