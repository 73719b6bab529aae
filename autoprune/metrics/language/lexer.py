"""Formula text to tokens."""

import re
from typing import NamedTuple

from autoprune.metrics.language.errors import ExpressionError

MAX_TEXT = 4000


class Token(NamedTuple):
    """A piece of the formula.

    Args:
        kind: ``number``, ``name``, ``symbol`` or ``end``.
        text: The piece itself; ``^`` is read as ``**``.
        position: 0-based index in the formula.
    """

    kind: str
    text: str
    position: int


# ASCII classes on purpose: \d and \w would let in digits and letters that Python's float() reads
# but people cannot tell apart.
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>\*\*|[-+*/^(){},:=])"
)

_INSTEAD = {
    "×": "*",
    "·": "*",
    "÷": "/",
    "−": "-",
    "|": "abs(...)",
    "√": "sqrt(...)",
    "@": "*",
    "²": "** 2",
    "[": "( )",
    "]": "( )",
    ".": "plain function names such as abs(W), without torch.",
}


def tokenize(text: str) -> list[Token]:
    """Split a formula; the last token is always of kind ``end``.

    Raises:
        ExpressionError: If the text is too long or holds a character outside the language.
    """
    if len(text) > MAX_TEXT:
        raise ExpressionError(
            f"the formula is {len(text)} characters long; at most {MAX_TEXT} are allowed, "
            "write a shorter one",
            text,
            MAX_TEXT,
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise _unexpected(text, position)
        kind = found.lastgroup
        if kind != "space":
            piece = "**" if found.group() == "^" else found.group()
            tokens.append(Token(str(kind), piece, position))
        position = found.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _unexpected(text: str, position: int) -> ExpressionError:
    character = text[position]
    hint = f"use {_INSTEAD[character]}" if character in _INSTEAD else "write only the formula"
    return ExpressionError(
        f"unexpected character {character!a}; {hint}; "
        "allowed: names, numbers, + - * / ** ( ) , and {a:0.5}",
        text,
        position,
    )
