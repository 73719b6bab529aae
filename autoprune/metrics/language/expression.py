"""A formula of the metric language: parsed, typed, ready to score weights."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from autoprune.digest import digest_bytes
from autoprune.errors import UsageError
from autoprune.metrics.language import compiler, latex
from autoprune.metrics.language.nodes import (
    Constant,
    Node,
    Shape,
    constants_of,
    map_leaves,
    size,
)
from autoprune.metrics.language.normal import normal_form
from autoprune.metrics.language.parser import MAX_CONSTANT, check_size, parse_tree
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import TERMINALS, ShapeMismatchError, shape_of


@dataclass(frozen=True)
class Expression:
    """A valid formula; two are equal when their canonical texts are.

    Build one with :func:`parse`, or with :meth:`from_tree` from a tree.
    """

    text: str
    tree: Node = field(compare=False, repr=False)

    @classmethod
    def from_tree(cls, tree: Node) -> "Expression":
        """Wrap a tree.

        Raises:
            ShapeMismatchError: If the tree is ill-typed, too large or too deep, does not use ``W``,
                or its value is not [out, in].
        """
        if shape_of(tree) != Shape.MATRIX or not check_size(tree):
            raise ShapeMismatchError(
                "a metric is a tree of shape [out,in] within the limits of size and depth"
            )
        if not compiler.uses_weight(tree):
            raise ShapeMismatchError("a metric uses W")
        return cls(to_text(tree), tree)

    @cached_property
    def constants(self) -> dict[str, float]:
        """Tunable constants and their values, in order of appearance."""
        return constants_of(self.tree)

    @cached_property
    def needs(self) -> frozenset[str]:
        """Names of the statistics that the formula reads."""
        return compiler.terminals_of(self.tree)

    @cached_property
    def size(self) -> int:
        """Number of nodes of the tree."""
        return size(self.tree)

    @cached_property
    def digest(self) -> str:
        """SHA-256 shared by formulas that differ only in notation; constants count by value."""
        return digest_bytes(normal_form(self.tree, keep_values=True).encode())

    @cached_property
    def structure(self) -> str:
        """SHA-256 shared also by formulas that differ only in tunable values."""
        return digest_bytes(normal_form(self.tree, keep_values=False).encode())

    @torch.no_grad()
    def evaluate(
        self,
        weight: Tensor,
        stats: Mapping[str, Tensor],
        params: Mapping[str, float] | None = None,
    ) -> Tensor:
        """Score a layer's weights; finite for finite inputs.

        Args:
            weight: Layer weight, [out, in].
            stats: Statistics by name; vectors [in], ``grad_norm`` [out, in].
            params: Values for tunable constants, by name; the others keep their own.

        Returns:
            Scores, [out, in] float32; larger means keep.

        Raises:
            UsageError: If a statistic is missing or of the wrong shape, or a constant is unknown
                or not finite.
        """
        if weight.ndim != 2:
            raise UsageError(f"the weight has shape {tuple(weight.shape)}; [out, in] is needed")
        values = self._checked(params or {})
        return compiler.evaluate_tree(self.tree, weight, stats, values)

    def with_constants(self, params: Mapping[str, float]) -> "Expression":
        """The same formula with other values of its tunable constants.

        Raises:
            UsageError: If a name is unknown or a value is not finite or beyond 1e6.
        """
        values = self._checked(params)

        def change(leaf: Node) -> Node:
            if isinstance(leaf, Constant) and leaf.name in values:
                return Constant(leaf.name, float(values[leaf.name]))
            return leaf

        return Expression.from_tree(map_leaves(self.tree, change))

    def to_python(self) -> str:
        """Source of ``score(W, stats, params)``: imports only torch, same results bit for bit."""
        return compiler.to_python(self.tree)

    def to_latex(self) -> str:
        """LaTeX of one weight's score, without dollar signs."""
        return latex.to_latex(self.tree)

    def _checked(self, params: Mapping[str, float]) -> Mapping[str, float]:
        for name, value in params.items():
            if name not in self.constants:
                known = ", ".join(self.constants) or "none"
                raise UsageError(f"unknown constant {name!r} in {self.text}; tunable: {known}")
            if not math.isfinite(value) or abs(value) > MAX_CONSTANT:
                raise UsageError(
                    f"constant {name!r} is {value}; allowed: -{MAX_CONSTANT:g} to {MAX_CONSTANT:g}"
                )
        return params


def parse(text: str, *, terminals: Collection[str] = tuple(TERMINALS)) -> Expression:
    """Read a formula.

    Args:
        text: The formula, for example ``abs(W) * x_norm ** {a:0.5}``.
        terminals: Names that may be used; by default all statistics that exist.

    Raises:
        ExpressionError: If it is not a formula that scores every weight; the message shows where
            and says what is allowed.
    """
    return Expression.from_tree(parse_tree(text, terminals))
