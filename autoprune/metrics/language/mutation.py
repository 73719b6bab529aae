"""Random formulas, mutation and crossover: the moves of the genetic-programming baseline.

All are typed: a subtree is replaced only by one of the same shape, so every result is valid.
Every choice is drawn from the given generator, only through ``random()``: the same generator state
gives the same formula, for ``random.Random`` and ``numpy.random.Generator``.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from autoprune.metrics.language.ablation import term_ablations
from autoprune.metrics.language.expression import Expression
from autoprune.metrics.language.nodes import (
    Call,
    Constant,
    Node,
    Number,
    Path,
    Shape,
    Terminal,
    constants_of,
    map_leaves,
    replace,
    walk,
)
from autoprune.metrics.language.parser import fresh_name
from autoprune.metrics.language.vocabulary import (
    BASIC_TERMINALS,
    OPERATIONS,
    TERMINALS,
    ShapeMismatchError,
    shape_of,
)

T = TypeVar("T")

MAX_GROWN_SIZE = 60
ATTEMPTS = 50

_ELEMENTWISE = ("abs", "sqrt", "log1p", "sq", "tanh", "sigmoid", "exp")
_BINARY = ("mul", "mul", "mul", "add", "add", "div", "div", "sub", "max", "min")
_VALUES = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_WEIGHT = Call("abs", (Terminal("W"),))


class Random(Protocol):
    """Interface that ``random.Random`` and ``numpy.random.Generator`` share."""

    def random(self) -> float:
        """A float in [0, 1)."""


def random_expression(
    rng: Random, *, terminals: Collection[str] = BASIC_TERMINALS, depth: int = 4
) -> Expression:
    """A random formula over ``terminals``, at most ``depth`` operations deep on its main path."""
    grower = _Grower(rng, terminals)
    for _ in range(ATTEMPTS):
        found = _accepted(grower.tree(Shape.MATRIX, depth))
        if found is not None:
            return found
    return Expression.from_tree(_WEIGHT)


def mutate(
    expression: Expression, rng: Random, *, terminals: Collection[str] = BASIC_TERMINALS
) -> Expression:
    """Make one random change to an operator, terminal, subtree or constant, or add or drop a term.

    Args:
        expression: The parent.
        rng: Source of all choices.
        terminals: Names that new parts may use.

    Returns:
        A valid formula whose digest differs from the parent's; a new random one if 50 tries give
        none.
    """
    grower = _Grower(rng, terminals)
    moves: list[Callable[[Node], Node]] = [
        grower.swap_operator,
        grower.new_subtree,
        grower.new_subtree,
        grower.add_term,
        grower.add_term,
        grower.wrap,
        grower.jitter,
        grower.jitter,
    ]
    for _ in range(ATTEMPTS):
        move = _pick(rng, [*moves, None])
        if move is None:
            shorter = term_ablations(expression)
            found = _pick(rng, shorter).expression if shorter else None
        else:
            found = _accepted(move(expression.tree))
        if found is not None and found.digest != expression.digest:
            return found
    return random_expression(rng, terminals=terminals)


def crossover(left: Expression, right: Expression, rng: Random) -> Expression:
    """``left`` with one subtree replaced by one of the same shape from ``right``.

    Constants of ``right`` whose name has another value in ``left`` are renamed. Returns ``left`` if
    none of 50 tries gives a valid formula that differs from both.
    """
    donors = [node for _, node in walk(_renamed(right.tree, constants_of(left.tree)))]
    for _ in range(ATTEMPTS):
        path, old = _pick(rng, list(walk(left.tree)))
        fitting = [node for node in donors if shape_of(node) == shape_of(old)]
        if not fitting:
            continue
        found = _accepted(replace(left.tree, path, _pick(rng, fitting)))
        if found is not None and found.digest not in (left.digest, right.digest):
            return found
    return left


class _Grower:
    def __init__(self, rng: Random, terminals: Collection[str]) -> None:
        self.rng = rng
        self.names = [name for name in TERMINALS if name in terminals or name == "W"]
        self.taken: set[str] = set()

    def tree(self, shape: Shape, depth: int) -> Node:
        """A random tree of the given shape."""
        if depth <= 0 or self.rng.random() < 0.15:
            return self.leaf(shape)
        roll = self.rng.random()
        if shape == Shape.SCALAR:
            name = _pick(self.rng, ("mean", "std"))
            inner = _pick(self.rng, (Shape.MATRIX, Shape.IN))
            return self.leaf(shape) if roll < 0.6 else Call(name, (self.tree(inner, depth - 1),))
        if shape == Shape.OUT or (shape == Shape.IN and roll < 0.3):
            rule = "over_in" if shape == Shape.OUT else "over_out"
            return Call(self.operation(rule), (self.tree(Shape.MATRIX, depth - 1),))
        if roll < 0.45:
            name = _pick(self.rng, (*_ELEMENTWISE, "rank", "minmax"))
            return Call(name, (self.tree(shape, depth - 1),))
        if roll < 0.6:
            return Call("pow", (self.tree(shape, depth - 1), self.constant()))
        return self.combined(self.tree(shape, depth - 1), shape, depth - 1)

    def combined(self, node: Node, shape: Shape, depth: int) -> Node:
        """``node`` and a random operand under a random binary operation of the same shape."""
        partners = [part for part in Shape if part | shape == shape] + [shape, Shape.IN & shape]
        other = self.tree(Shape(_pick(self.rng, partners)), depth)
        return Call(_pick(self.rng, _BINARY), (node, other))

    def leaf(self, shape: Shape) -> Node:
        """A terminal or constant of the given shape, or the smallest tree where none exists."""
        if shape == Shape.SCALAR:
            return self.constant()
        fitting: list[Node] = [Terminal(n) for n in self.names if TERMINALS[n].shape == shape]
        if shape == Shape.MATRIX:
            fitting += [_WEIGHT, _WEIGHT]
        if not fitting:
            rule = "over_in" if shape == Shape.OUT else "over_out"
            return Call(self.operation(rule), (_WEIGHT,))
        return _pick(self.rng, fitting)

    def constant(self) -> Node:
        """A fixed number, or more often a tunable constant with a new name."""
        value = _pick(self.rng, _VALUES)
        if self.rng.random() < 0.3:
            return Number(value)
        name = fresh_name(self.taken)
        self.taken.add(name)
        return Constant(name, value)

    def operation(self, rule: str) -> str:
        return _pick(self.rng, [name for name, op in OPERATIONS.items() if op.rule == rule])

    def place(self, root: Node) -> tuple[Path, Node]:
        self.taken |= set(constants_of(root))
        return _pick(self.rng, list(walk(root)))

    def swap_operator(self, root: Node) -> Node:
        """One operation becomes another with the same operands."""
        path, node = self.place(root)
        if not isinstance(node, Call):
            return replace(root, path, self.leaf(shape_of(node)))
        old = OPERATIONS[node.name]
        alike = [n for n, op in OPERATIONS.items() if (op.arity, op.rule) == (old.arity, old.rule)]
        return replace(root, path, Call(_pick(self.rng, alike), node.args))

    def new_subtree(self, root: Node) -> Node:
        """One subtree becomes a random one of the same shape."""
        path, node = self.place(root)
        return replace(root, path, self.tree(shape_of(node), 2))

    def add_term(self, root: Node) -> Node:
        """One subtree is combined with a new operand."""
        path, node = self.place(root)
        return replace(root, path, self.combined(node, shape_of(node), 1))

    def wrap(self, root: Node) -> Node:
        """One subtree gets a function or an exponent."""
        path, node = self.place(root)
        if self.rng.random() < 0.5:
            return replace(root, path, Call("pow", (node, self.constant())))
        return replace(root, path, Call(_pick(self.rng, _ELEMENTWISE), (node,)))

    def jitter(self, root: Node) -> Node:
        """One constant is scaled by a factor around 1."""
        values = constants_of(root)
        if not values:
            return root
        name = _pick(self.rng, list(values))
        value = values[name] * math.exp(1.5 * (self.rng.random() + self.rng.random() - 1.0))
        bounded = float(format(max(-100.0, min(100.0, value)), ".3g"))

        def change(leaf: Node) -> Node:
            same = isinstance(leaf, Constant) and leaf.name == name
            return Constant(name, bounded) if same else leaf

        return map_leaves(root, change)


def _accepted(tree: Node) -> Expression | None:
    try:
        found = Expression.from_tree(tree)
    except ShapeMismatchError:
        return None
    return found if found.size <= MAX_GROWN_SIZE else None


def _renamed(tree: Node, existing: dict[str, float]) -> Node:
    own = constants_of(tree)
    clashing = [n for n, value in own.items() if n in existing and existing[n] != value]
    names: dict[str, str] = {}
    for name in clashing:
        names[name] = fresh_name({*existing, *own, *names.values()})

    def change(leaf: Node) -> Node:
        if isinstance(leaf, Constant) and leaf.name in names:
            return Constant(names[leaf.name], leaf.value)
        return leaf

    return map_leaves(tree, change)


def _pick(rng: Random, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]
