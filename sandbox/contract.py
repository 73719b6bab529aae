"""The contract of a scoring function, checked on variants of the probe's small layers.

A weight's score must not depend on its position. Neither the outputs nor the inputs of a layer
have an order, so permuting the rows, or the columns with their statistics, must permute the scores
the same way and change nothing else. A function that uses position on purpose (blocks of
neighbours, patterns) declares ``USES_POSITION = True``.

Models differ in scale by orders of magnitude, so the scores of a quiet and of a loud layer must
also be finite and distinct. Their order may change: a sum of terms of different dimensions is a
legitimate design, and measurement decides what it is worth.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.codes import Code
from sandbox.probe_layers import SHAPES, probe_tensors
from sandbox.source_tree import parse
from sandbox.verdicts import Scores, judge_scores

FLAG = "USES_POSITION"
# Summing in another order rounds differently, which may swap the ranks of a near tie.
_RELATIVE, _ABSOLUTE, _SHARE = 1e-3, 1e-3, 0.01


@dataclass(frozen=True)
class Variant:
    """A layer of the probe, changed in one way.

    Args:
        base: Index of the layer it was made from.
        rows: New order of the rows, None to keep it.
        columns: New order of the columns and of their statistics, None to keep it.
        weight_factor: ``W`` is multiplied by it.
        input_factor: The inputs are multiplied by it: norms by it, variances by its square.
    """

    base: int
    rows: NDArray[np.int64] | None = None
    columns: NDArray[np.int64] | None = None
    weight_factor: float = 1.0
    input_factor: float = 1.0

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The changed layer."""
        return {name: self._changed(name, v) for name, v in probe_tensors(self.base).items()}

    def _changed(self, name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        if name == "W":
            value = value * np.float32(self.weight_factor)
        elif name in ("x_var", "hessian_diag"):
            value = value * np.float32(self.input_factor**2)
        elif name.startswith("x_"):
            value = value * np.float32(self.input_factor)
        if self.rows is not None and value.ndim == 2:
            value = value[self.rows]
        if self.columns is not None:
            value = value[..., self.columns]
        return np.ascontiguousarray(value)


def _order(size: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(size)).permutation(size)


# Powers of two: they scale without rounding.
VARIANTS = (
    Variant(0, rows=_order(SHAPES[0][0])),
    Variant(1, columns=_order(SHAPES[1][1])),
    Variant(0, weight_factor=2**-5, input_factor=2**-4),
    Variant(1, weight_factor=2**2, input_factor=2**5),
)


def uses_position(source: str) -> bool:
    """Whether a source sets ``USES_POSITION = True`` at its top level; the source is not run."""
    try:
        body = parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and node.value.value is True
        and any(isinstance(target, ast.Name) and target.id == FLAG for target in node.targets)
        for node in body
    )


def judge_contract(
    scores: Sequence[Scores], *, positional: bool, distinct: int
) -> tuple[Code, str] | None:
    """Check the scores of the probe's layers and of their variants."""
    for variant, changed in zip(VARIANTS, scores[len(SHAPES) :], strict=True):
        if variant.rows is not None or variant.columns is not None:
            failure = None if positional else _judge_order(variant, scores[variant.base], changed)
        else:
            failure = _judge_scale(variant, changed, distinct)
        if failure is not None:
            return failure
    return None


def _judge_order(variant: Variant, before: Scores, after: Scores) -> tuple[Code, str] | None:
    axis, order = (0, variant.rows) if variant.rows is not None else (1, variant.columns)
    assert order is not None
    expected = np.take(before, order, axis=axis)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(after - expected)
    allowed = _RELATIVE * np.abs(expected) + _ABSOLUTE * float(np.median(np.abs(expected)))
    # Written this way round, NaN counts as wrong.
    wrong = ~(error <= allowed)
    if wrong.mean() <= _SHARE:
        return None
    row, column = (int(part[0]) for part in np.nonzero(wrong))
    name = "rows" if axis == 0 else "columns"
    return Code.NOT_EQUIVARIANT, (
        f"{int(wrong.sum())} of {wrong.size} scores changed when the {name} came in another order: "
        f"expected {expected[row, column]:.4g} as before, got {after[row, column]:.4g}; score by "
        f"values and statistics, not by position, or put {FLAG} = True at the top of the file"
    )


def _judge_scale(variant: Variant, scores: Scores, distinct: int) -> tuple[Code, str] | None:
    failure = judge_scores(scores, variant.base, distinct)
    if failure is None:
        return None
    got = failure[1].partition(": ")[2].partition(";")[0]
    return Code.SCALE_UNSTABLE, (
        f"with weights times {variant.weight_factor:g} and inputs times {variant.input_factor:g}, "
        f"{got}; expected finite, distinct scores; divide by a mean or maximum, avoid exp and high "
        "powers of raw values"
    )
