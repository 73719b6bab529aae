"""The syntax tree of an answer, and the exact value of those that are rational numbers."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

# A power whose value has more bits is left to the symbolic check and its timeout.
_MOST_BITS = 4096


class UnreadableAnswerError(ValueError):
    """The text is not an expression that the grader reads; it is compared as text only."""


@dataclass(frozen=True)
class AnswerNode:
    """One node of an answer.

    Args:
        kind: ``number``, ``symbol``, ``constant``, ``text``; ``add``, ``mul``, ``div``, ``pow``,
            ``neg``, ``factorial``, ``call``, ``unit``, ``relation``, ``sequence``.
        value: Exact number, name, relation sign or the pair of delimiters.
        parts: Operands in order.
    """

    kind: str
    value: str = ""
    parts: tuple["AnswerNode", ...] = ()

    def to_json(self) -> list[Any]:
        """Nested lists ``[kind, value, [parts]]``."""
        return [self.kind, self.value, [part.to_json() for part in self.parts]]


def rational_value(node: AnswerNode) -> Fraction | None:
    """Exact value of a node made of rational numbers; None if it has none or is too large."""
    values = [rational_value(part) for part in node.parts]
    if node.kind == "number":
        return Fraction(node.value)
    known = [value for value in values if value is not None]
    if not values or len(known) < len(values):
        return None
    match node.kind:
        case "add":
            return sum(known, Fraction(0))
        case "neg":
            return -known[0]
        case "mul":
            product = Fraction(1)
            for value in known:
                product *= value
            return product
        case "div":
            return known[0] / known[1] if known[1] else None
        case "pow":
            return _power(known[0], known[1])
        case _:
            return None


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1 or (base == 0 and exponent <= 0):
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent.numerator) > _MOST_BITS:
        return None
    return base**exponent.numerator
