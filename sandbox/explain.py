"""A readable refusal: which promise was broken, where, what was expected, what came instead."""

import ast
import re
from dataclasses import dataclass

from sandbox.codes import PROPERTIES, Code
from sandbox.outcomes import Rejected
from sandbox.screen import entry_of
from sandbox.source_tree import parse

_ABOUT_RESULT = frozenset(
    {Code.WRONG_TYPE, Code.WRONG_SHAPE, Code.WRONG_DTYPE, Code.NAN_SCORES, Code.CONSTANT_SCORES}
    | {Code.NAN_WEIGHTS, Code.WRONG_BUDGET}
    | {Code.SCALE_UNSTABLE, Code.NONDETERMINISTIC, Code.DEPENDS_ON_BATCH, Code.NOT_EQUIVARIANT}
)
_LINE = re.compile(r"line (\d+): ")


@dataclass(frozen=True)
class Explanation:
    """A refusal in parts.

    Args:
        property: The promise that was broken, in a word or two.
        line: Line of the source, None when the whole source is meant.
        text: That line.
        expected: What the contract asks for.
        got: What came.
        remedy: What to do; empty when it follows from the rest.
    """

    property: str
    line: int | None
    text: str
    expected: str
    got: str
    remedy: str


def explain(refusal: Rejected, source: str) -> Explanation:
    """Break a refusal down into its parts."""
    found = _LINE.match(refusal.detail)
    line = int(found.group(1)) if found else None
    if line is None and refusal.code in _ABOUT_RESULT:
        line = _returning(source)
    got, _, remedy = refusal.detail[found.end() if found else 0 :].partition("; ")
    lines = source.splitlines()
    text = lines[line - 1].strip() if line is not None and 0 < line <= len(lines) else ""
    printable = "".join(mark if mark.isprintable() else " " for mark in text)[:160]
    name, expected = PROPERTIES[refusal.code]
    return Explanation(name, line, printable, expected, got, remedy)


def _returning(source: str) -> int | None:
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    entry = entry_of(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            found = [part.lineno for part in ast.walk(node) if isinstance(part, ast.Return)]
            return max(found, default=node.lineno)
    return None
