"""The words of the metric language: terminals, operators and functions, with types and meaning.

The shape rules follow torch broadcasting: an element-wise operation extends along every axis that
one of its operands has.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from autoprune.metrics.language import operations as ops
from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Shape, Terminal

Rule = Literal["elementwise", "power", "rescale", "over_in", "over_out", "over_all"]


class ShapeMismatchError(ValueError):
    """Operands whose shapes an operation does not take."""


@dataclass(frozen=True)
class Value:
    """A terminal.

    Args:
        shape: Axes of the value; statistics stored as [in] are read as [1, in].
        meaning: One line for prompts and documentation.
        latex: How a formula shows it.
        nonnegative: Whether no entry is ever below zero.
    """

    shape: Shape
    meaning: str
    latex: str
    nonnegative: bool


@dataclass(frozen=True)
class Operation:
    """An operator or function.

    Args:
        arity: Number of operands.
        rule: How the shape of the result follows from those of the operands.
        apply: What it computes.
        meaning: One line for prompts and documentation; empty for operators.
    """

    arity: int
    rule: Rule
    apply: Callable[..., Tensor]
    meaning: str = ""


TERMINALS: dict[str, Value] = {
    "W": Value(Shape.MATRIX, "the weights (signed)", "W_{ij}", False),
    "x_norm": Value(Shape.IN, "root mean square of each input", r"\Vert x_j \Vert", True),
    "x_mean": Value(Shape.IN, "mean of each input (signed)", r"\mu_j", False),
    "x_var": Value(Shape.IN, "variance of each input", r"\sigma_j^2", True),
    "x_max": Value(Shape.IN, "largest magnitude of each input", r"\max|x_j|", True),
    "hessian_diag": Value(
        Shape.IN, "OBS curvature of each input, 1 / diag(H^-1)", r"\frac{1}{[H^{-1}]_{jj}}", True
    ),
    "grad_norm": Value(
        Shape.MATRIX, "root mean square of the loss gradient of each weight", "G_{ij}", True
    ),
}

BASIC_TERMINALS = frozenset({"W", "x_norm", "x_mean", "x_var", "x_max"})

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
PREFIX = {"neg": "-"}

OPERATIONS: dict[str, Operation] = {
    "add": Operation(2, "elementwise", ops.add),
    "sub": Operation(2, "elementwise", ops.subtract),
    "mul": Operation(2, "elementwise", ops.multiply),
    "div": Operation(2, "elementwise", ops.divide),
    "pow": Operation(2, "power", ops.power),
    "neg": Operation(1, "elementwise", ops.negate),
    "abs": Operation(1, "elementwise", ops.absolute, "magnitude"),
    "sqrt": Operation(1, "elementwise", ops.square_root, "square root of |x|"),
    "log1p": Operation(1, "elementwise", ops.log_one_plus, "log(1 + |x|)"),
    "exp": Operation(1, "elementwise", ops.exponential, "exponential, bounded"),
    "sq": Operation(1, "elementwise", ops.square, "square"),
    "tanh": Operation(1, "elementwise", ops.hyperbolic_tangent, "hyperbolic tangent"),
    "sigmoid": Operation(1, "elementwise", ops.logistic, "logistic function"),
    "min": Operation(2, "elementwise", ops.smaller, "smaller of two values, element-wise"),
    "max": Operation(2, "elementwise", ops.larger, "larger of two values, element-wise"),
    "clip": Operation(3, "elementwise", ops.clipped, "clip(x, low, high)"),
    "minmax": Operation(1, "rescale", ops.min_max_scaled, "rescaled to 0..1 over the whole value"),
    "rank": Operation(1, "rescale", ops.ranked, "share of smaller entries in the same row, 0..1"),
    "row_sum": Operation(1, "over_in", ops.sum_over_in, "sum of each row"),
    "row_mean": Operation(1, "over_in", ops.mean_over_in, "mean of each row"),
    "row_std": Operation(1, "over_in", ops.std_over_in, "standard deviation of each row"),
    "row_norm": Operation(1, "over_in", ops.norm_over_in, "Euclidean norm of each row"),
    "row_max": Operation(1, "over_in", ops.max_over_in, "largest entry of each row"),
    "col_sum": Operation(1, "over_out", ops.sum_over_out, "sum of each column"),
    "col_mean": Operation(1, "over_out", ops.mean_over_out, "mean of each column"),
    "col_std": Operation(1, "over_out", ops.std_over_out, "standard deviation of each column"),
    "col_norm": Operation(1, "over_out", ops.norm_over_out, "Euclidean norm of each column"),
    "col_max": Operation(1, "over_out", ops.max_over_out, "largest entry of each column"),
    "mean": Operation(1, "over_all", ops.mean_over_all, "mean of all entries"),
    "std": Operation(1, "over_all", ops.std_over_all, "standard deviation of all entries"),
}

FUNCTIONS: tuple[str, ...] = tuple(n for n in OPERATIONS if n not in INFIX and n not in PREFIX)


def result_shape(name: str, shapes: Collection[Shape]) -> Shape:
    """Shape of an operation's result.

    Raises:
        ShapeMismatchError: If the operation does not take operands of these shapes; the message
            says what it takes.
    """
    rule = OPERATIONS[name].rule
    first, *rest = shapes
    joined = first
    for shape in rest:
        joined |= shape
    if rule == "power" and rest[0] != Shape.SCALAR:
        raise ShapeMismatchError(
            f"the exponent of ** has shape {rest[0].label}; it must be a scalar, "
            "such as 2, 0.5 or {a:0.5}"
        )
    if rule == "over_in" and not first & Shape.IN:
        raise ShapeMismatchError(f"{name} takes [out,in] or [1,in], not {first.label}")
    if rule == "over_out" and not first & Shape.OUT:
        raise ShapeMismatchError(f"{name} takes [out,in] or [out,1], not {first.label}")
    if rule in ("over_all", "rescale") and first == Shape.SCALAR:
        raise ShapeMismatchError(f"{name} takes a matrix or vector, not a scalar")
    axes = {
        "over_in": first & ~Shape.IN & Shape.MATRIX,
        "over_out": first & ~Shape.OUT & Shape.MATRIX,
        "over_all": Shape.SCALAR,
        "power": first,
    }
    return Shape(axes.get(rule, joined))


def shape_of(node: Node) -> Shape:
    """Shape of a tree's value.

    Raises:
        ShapeMismatchError: If an operation in the tree does not take its operands.
    """
    match node:
        case Number() | Constant():
            return Shape.SCALAR
        case Terminal(name):
            return TERMINALS[name].shape
        case Call(name, args):
            return result_shape(name, [shape_of(child) for child in args])


def reference(terminals: Collection[str] = BASIC_TERMINALS) -> str:
    """The language on one page, for prompts and ``--help``: same arguments, same text."""
    values = [
        f"  {name:<13}{value.shape.label:<9}{value.meaning}"
        for name, value in TERMINALS.items()
        if name in terminals
    ]
    functions = [f"  {name:<10}{OPERATIONS[name].meaning}" for name in FUNCTIONS]
    return "\n".join(
        [
            "A metric is one formula that gives each weight a score [out,in]; larger means keep.",
            "Values:",
            *values,
            "Operators: + - * / and ** (|x| to a scalar power); parentheses.",
            "Constants: 0.5 is fixed; {a:0.5} is tunable, named a, starting at 0.5.",
            "Functions:",
            *functions,
            "Shapes broadcast. Division and overflow are safe. The formula must use W.",
            "Example: abs(W) * x_norm ** {a:0.5}",
        ]
    )
