"""Whether an answer equals the reference: strict, symmetric, with every leniency off by default."""

import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from autoprune.evaluation.grading.extraction import boxed_answer, last_number, marked_answer
from autoprune.evaluation.grading.parsing import LONGEST_ANSWER, parse_answer, tidy
from autoprune.evaluation.grading.symbolic import DEFAULT_TIMEOUT, SymbolicChecker
from autoprune.evaluation.grading.syntax import AnswerNode, UnreadableAnswerError, rational_value

# 2: mixed numbers may be negative; a fraction in brackets next to a number is a factor.
# 5: a chain of inequalities equals the same one turned around.
# 6: thousands in LaTeX and within an expression; spaces in what cannot be read.
GRADER_VERSION = "6"
_SPACES = re.compile(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])")
MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}


@dataclass(frozen=True)
class Leniency:
    """What the grader forgives; each option can turn a wrong answer into a right one.

    Args:
        relative_tolerance: Share by which two numbers may differ.
        percent: x equals x/100 and 100x.
        units: Units, percent and degree signs are ignored.
        assignment: ``x = 5`` equals ``5``.
        unordered: Bare lists ``1, 2`` are compared without order.
        ignore_case: Upper and lower case are the same.
        last_number: A reply without an answer in the expected place is read for its last number.
    """

    relative_tolerance: float = 0.0
    percent: bool = False
    units: bool = False
    assignment: bool = False
    unordered: bool = False
    ignore_case: bool = False
    last_number: bool = False


@dataclass(frozen=True)
class Grade:
    """Verdict on one answer.

    Args:
        correct: True only when equality was shown.
        code: How: ``text``, ``number``, ``symbolic``, ``structure``; or why not: ``different``,
            ``missing``, ``unreadable``, ``timeout``, ``failed``.
        answer: The answer that was read, at most 400 characters; None when there was none.
    """

    correct: bool
    code: str
    answer: str | None = None


class Grader:
    """Strict answer grader; a context manager that owns the symbolic child process.

    Args:
        leniency: What is forgiven; nothing by default.
        timeout: Seconds for one symbolic check; a check that takes longer counts as wrong.
    """

    def __init__(
        self, leniency: Leniency | None = None, *, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        self.leniency = leniency or Leniency()
        self._symbolic = SymbolicChecker(timeout)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the symbolic child process."""
        self._symbolic.close()

    def record(self) -> dict[str, Any]:
        """Version, timeout and leniencies: the provenance of every grade."""
        return {
            "grader": GRADER_VERSION,
            "timeout": self._symbolic.timeout,
            "leniency": asdict(self.leniency),
        }

    def grade_reply(self, reply: str, reference: str, *, marker: str | None = None) -> Grade:
        r"""Read the final answer out of a model's reply and grade it."""
        answer = boxed_answer(reply)
        if answer is None and marker is not None:
            answer = marked_answer(reply, marker)
        if answer is None and self.leniency.last_number:
            answer = last_number(reply)
        return Grade(False, "missing") if answer is None else self.grade(answer, reference)

    def grade(self, answer: str, reference: str) -> Grade:
        """Grade one answer; reflexive for every answer that is not blank, and symmetric."""
        shown = answer[:LONGEST_ANSWER]
        first, second = self._plain(answer), self._plain(reference)
        if not first or not second:
            return Grade(False, "missing", shown)
        if first == second:
            return Grade(True, "text", shown)
        try:
            trees = parse_answer(first), parse_answer(second)
        except UnreadableAnswerError:
            # Spaces mean nothing in mathematics, but between two words or numbers.
            alike = _SPACES.sub("", first) == _SPACES.sub("", second)
            return Grade(alike, "text" if alike else "unreadable", shown)
        correct, code = self._same(self._forgive(trees[0]), self._forgive(trees[1]))
        return Grade(correct, code, shown)

    def _plain(self, text: str) -> str:
        # Hostile input may be megabytes long; text beyond the limit is never parsed.
        text = tidy(text) if len(text) <= LONGEST_ANSWER else text.strip()
        return text.casefold() if self.leniency.ignore_case else text

    def _forgive(self, node: AnswerNode) -> AnswerNode:
        parts = tuple(self._forgive(part) for part in node.parts)
        if self.leniency.units and node.kind == "unit":
            return parts[0]
        if self.leniency.assignment and node.value == "=" and parts[0].kind == "symbol":
            return parts[1]
        return AnswerNode(node.kind, node.value, parts)

    def _same(self, a: AnswerNode, b: AnswerNode) -> tuple[bool, str]:
        if a == b:
            return True, "structure"
        whole = {"sequence", "relation", "unit", "text"}
        if a.kind in whole or b.kind in whole:
            if (a.kind, a.value, len(a.parts)) != (b.kind, b.value, len(b.parts)):
                return self._turned(a, b)
            if a.kind == "text":
                return False, "different"
            if a.value == "{}" or (a.value == "," and self.leniency.unordered):
                return self._same_bag(a.parts, b.parts)
            return self._all_same(a.parts, b.parts) if a.value != "=" else self._equations(a, b)
        return self._same_expression(a, b)

    def _turned(self, a: AnswerNode, b: AnswerNode) -> tuple[bool, str]:
        (terms, signs), (others, theirs) = _chain(a), _chain(b)
        if signs and [MIRRORED.get(sign) for sign in signs] == theirs[::-1]:
            return self._all_same(tuple(terms), tuple(others[::-1]))
        return False, "different"

    def _equations(self, a: AnswerNode, b: AnswerNode) -> tuple[bool, str]:
        straight = self._all_same(a.parts, b.parts)
        return straight if straight[0] else self._all_same(a.parts, b.parts[::-1])

    def _all_same(self, a: tuple[AnswerNode, ...], b: tuple[AnswerNode, ...]) -> tuple[bool, str]:
        for first, second in zip(a, b, strict=True):
            same, code = self._same(first, second)
            if not same:
                return False, code
        return True, "structure"

    def _same_bag(self, a: tuple[AnswerNode, ...], b: tuple[AnswerNode, ...]) -> tuple[bool, str]:
        left = list(b)
        for item in a:
            match = next((other for other in left if self._same(item, other)[0]), None)
            if match is None:
                return False, "different"
            left.remove(match)
        return True, "structure"

    def _same_expression(self, a: AnswerNode, b: AnswerNode) -> tuple[bool, str]:
        x, y = rational_value(a), rational_value(b)
        if x is not None and y is not None:
            same = self._close(x, y)
            return same, "number" if same else "different"
        result = self._symbolic.equal(a, b)
        if result.code != "symbolic":
            return False, result.code
        return result.equal, "symbolic" if result.equal else "different"

    def _close(self, x: Fraction, y: Fraction) -> bool:
        scales = [Fraction(1)]
        if self.leniency.percent:
            scales += [Fraction(100), Fraction(1, 100)]
        # The limit depends on both answers alike, so swapping the two changes nothing.
        tolerance = Fraction(self.leniency.relative_tolerance)
        return any(
            abs(x * scale - y) <= tolerance * max(abs(x * scale), abs(y)) for scale in scales
        )


def _chain(node: AnswerNode) -> tuple[list[AnswerNode], list[str]]:
    """The terms of a chain such as ``1 < x <= 2``, and the signs between them."""
    if node.kind != "relation":
        return [node], []
    terms, signs = _chain(node.parts[0])
    return [*terms, node.parts[1]], [*signs, node.value]
