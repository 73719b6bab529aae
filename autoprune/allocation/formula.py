"""An allocation written as a formula over layer descriptors: depth, tail, outliers, size, kind."""

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from autoprune.allocation.allocator import ALLOCATORS, Allocator
from autoprune.allocation.context import (
    AllocationContext,
    Unit,
    assign,
    kind_of,
    unit_groups,
    wanda_scores,
)
from autoprune.allocation.ramp import depth_line
from autoprune.allocation.sdsa import bounded_tilt, shape_scores
from autoprune.errors import UsageError

# Parts, not characters, so that other spacing or other numbers still fit.
MOST_PARTS = 100
# More than the longest canonical text with that many parts.
LONGEST_FORMULA = 1000
# Scores above this multiple of their mean are outliers, as in OWL (arXiv 2310.05175).
OUTLIER_FACTOR = 5.0
LARGEST_NUMBER = 100.0

# Words for kinds of matrices, by the last part of their names; models that name them otherwise
# have 0 everywhere.
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ATTENTION = re.compile(r"attn|attention")
DESCRIPTORS: dict[str, str] = {
    "depth": "-1 in the first block to 1 in the last",
    "first": "1 in the first block, else 0",
    "last": "1 in the last block, else 0",
    "tail": "how much heavier the tail of |W| is than the median block's, in standard deviations",
    "skew": "how much larger the skew of |W| is than the median block's, in standard deviations",
    "outliers": "share of outlying scores in the block, standardised",
    "score": "mean score |W| x_norm of the block, standardised",
    "size": "logarithm of the matrix's number of weights, standardised",
    "attention": "1 in the matrices of attention, else 0",
    **{kind: f"1 in {kind}, else 0" for kind in KINDS},
}
OPERATORS: dict[type[ast.operator], tuple[str, int, Callable[[float, float], float]]] = {
    ast.Add: ("+", 1, lambda a, b: a + b),
    ast.Sub: ("-", 1, lambda a, b: a - b),
    ast.Mult: ("*", 2, lambda a, b: a * b),
}
FUNCTIONS = ("abs", "soft")
OF_ACTIVATIONS = frozenset({"outliers", "score"})


@ALLOCATORS.register("formula")
@dataclass(frozen=True)
class Formula(Allocator):
    """``target + FORMULA``, one rate per matrix, from descriptors of its block and its size.

    Written ``formula:0.1*size - 0.05*first``: numbers, the names of :data:`DESCRIPTORS`,
    ``+ - *``, ``abs()``, and ``soft()``, the bounded softmax tilt of SDSA, ``tanh(x / 2)``:
    ``-0.15*soft(tail)`` is ``sdsa`` and ``0.1*depth`` is ``ramp``. Text is parsed, never run.

    Args:
        formula: Canonical text.
    """

    NAME: ClassVar[str] = "formula"
    SOURCE: ClassVar[str] = "after the allocation search of DSA (NeurIPS 2024)"

    formula: str = "0.1 * depth"

    @classmethod
    def from_text(cls, rest: str) -> Self:
        """Read a formula; empty for the default.

        Raises:
            UsageError: If it is not a formula of this language; says what is allowed.
        """
        return cls(_print(parse_allocation(rest))) if rest.strip() else cls()

    @property
    def text(self) -> str:
        """``formula:`` and the canonical formula."""
        return f"{self.NAME}:{self.formula}"

    @property
    def needs(self) -> frozenset[str]:
        """Input norms, if the formula reads scores."""
        used = {n.id for n in ast.walk(parse_allocation(self.formula)) if isinstance(n, ast.Name)}
        return frozenset({"x_norm"}) if used & OF_ACTIVATIONS else frozenset()

    def rates(self, ctx: AllocationContext, target: float) -> dict[str, float]:
        """``target`` and the formula's value for each matrix."""
        shifts = _evaluate(parse_allocation(self.formula), ctx)
        return {
            unit.name: target + (shift if math.isfinite(shift) else 0.0)
            for unit, shift in zip(ctx.units, shifts, strict=True)
        }


def parse_allocation(text: str) -> ast.expr:
    """Parse an allocation formula and check every node of its syntax tree.

    Raises:
        UsageError: If it is not a formula of this language.
    """
    found: ast.expr | None = None
    if len(text) <= LONGEST_FORMULA:
        try:
            found = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found = None
    if found is not None:
        parts = sum(isinstance(node, ast.expr) for node in ast.walk(found))
        if parts > MOST_PARTS:
            raise UsageError(
                f"allocation formula {text[:60]!r} has {parts} numbers, names, signs and calls; at "
                f"most {MOST_PARTS}, write a shorter one"
            )
    if found is None or not _allowed(found):
        raise UsageError(
            f"allocation formula {text[:60]!r} is not understood; write numbers, "
            f"{', '.join(DESCRIPTORS)}, + - *, abs() and soft(), such as 0.1*size - 0.05*first"
        )
    return found


def numbers_of(text: str) -> list[float]:
    """The numbers of a formula, in the order written."""
    return [float(node.value) for node in _numbers(parse_allocation(text))]  # type: ignore[arg-type]


def with_numbers(text: str, values: Sequence[float]) -> str:
    """Canonical text of the formula with other numbers."""
    tree = parse_allocation(text)
    for node, value in zip(_numbers(tree), values, strict=True):
        node.value = abs(value)
    return _print(tree)


def _numbers(tree: ast.expr) -> list[ast.Constant]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _allowed(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            # Compared as it is: a whole number may be too large for a float.
            return type(value) in (int, float) and abs(value) <= LARGEST_NUMBER  # type: ignore[arg-type]
        case ast.Name(id=name):
            return name in DESCRIPTORS
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _allowed(inner)
        case ast.BinOp(left=left, op=op, right=right):
            return type(op) in OPERATORS and _allowed(left) and _allowed(right)
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]):
            return name in FUNCTIONS and _allowed(inner)
    return False


def _print(node: ast.expr, above: int = 0) -> str:
    match node:
        case ast.Constant(value=value):
            return f"{float(value):.6g}"  # type: ignore[arg-type]
        case ast.Name(id=name):
            return name
        case ast.UnaryOp(operand=inner):
            return f"-{_print(inner, 3)}"
        case ast.Call(func=ast.Name(id=name), args=[inner]):
            return f"{name}({_print(inner)})"
        case ast.BinOp(left=left, op=op, right=right):
            sign, level, _ = OPERATORS[type(op)]
            text = f"{_print(left, level)} {sign} {_print(right, level + 1)}"
            return f"({text})" if level < above else text
    raise AssertionError(f"unchecked node {ast.dump(node)}")


def _evaluate(node: ast.expr, ctx: AllocationContext) -> list[float]:
    match node:
        case ast.Constant(value=value):
            return [float(value)] * len(ctx.units)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return ctx.once(f"formula {name}", lambda: describe_layers(ctx, name))
        case ast.UnaryOp(operand=inner):
            return [-value for value in _evaluate(inner, ctx)]
        case ast.Call(func=ast.Name(id=name), args=[inner]):
            values = _evaluate(inner, ctx)
            if name == "abs":
                return [abs(value) for value in values]
            return [bounded_tilt(value) for value in values]
        case ast.BinOp(left=left, op=op, right=right):
            apply = OPERATORS[type(op)][2]
            pairs = zip(_evaluate(left, ctx), _evaluate(right, ctx), strict=True)
            return [apply(a, b) for a, b in pairs]
    raise AssertionError(f"unchecked node {ast.dump(node)}")


def describe_layers(ctx: AllocationContext, name: str) -> list[float]:
    """One descriptor for every unit, in model order."""
    groups = unit_groups(ctx, "block")
    if name == "size":
        return _standardised([math.log(unit.numel) for unit in ctx.units])
    if name == "attention":
        return [float(bool(ATTENTION.search(unit.name))) for unit in ctx.units]
    if name in KINDS:
        return [float(kind_of(unit.name) == name) for unit in ctx.units]
    blocks: list[float]
    match name:
        case "depth":
            blocks = depth_line(len(groups))
        case "first":
            blocks = [1.0] + [0.0] * (len(groups) - 1)
        case "last":
            blocks = [0.0] * (len(groups) - 1) + [1.0]
        case "tail" | "skew":
            blocks = shape_scores(ctx, groups, name)
        case _:
            blocks = _standardised([_of_scores(ctx, group, name) for group in groups])
    rates: Mapping[str, float] = assign(groups, blocks)
    return [rates[unit.name] for unit in ctx.units]


def _of_scores(ctx: AllocationContext, group: Sequence[Unit], name: str) -> float:
    total = sum(unit.numel for unit in group)
    scores = [wanda_scores(ctx, unit.name) for unit in group]
    mean = sum(float(part.double().sum()) for part in scores) / total
    if name == "score":
        return mean
    return sum(int((part > OUTLIER_FACTOR * mean).sum()) for part in scores) / total


def _standardised(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    # The mean of equal numbers may differ from them by rounding.
    varies = spread > 1e-12 * max(map(abs, values))
    return [(value - mean) / spread if varies else 0.0 for value in values]
