"""The syntax tree of a formula, and the shapes its values have."""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Shape(enum.IntFlag):
    """Which axes a value extends along; broadcasting is the union of the axes."""

    SCALAR = 0
    OUT = 1
    IN = 2
    MATRIX = 3

    @property
    def label(self) -> str:
        """How messages write the shape, for example ``[1,in]``."""
        return {0: "scalar", 1: "[out,1]", 2: "[1,in]", 3: "[out,in]"}[int(self)]


@dataclass(frozen=True)
class Number:
    """A fixed constant, never negative (a minus sign is an operation)."""

    value: float


@dataclass(frozen=True)
class Constant:
    """A named constant that a tuner may change."""

    name: str
    value: float


@dataclass(frozen=True)
class Terminal:
    """The weight or one of the statistics, by name."""

    name: str


@dataclass(frozen=True)
class Call:
    """An operator or function applied to its operands; ``name`` is a key of ``OPERATIONS``."""

    name: str
    args: "tuple[Node, ...]"


Node = Number | Constant | Terminal | Call
Path = tuple[int, ...]


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """All nodes with their paths from the root, parents before children, left to right."""
    yield path, node
    if isinstance(node, Call):
        for index, child in enumerate(node.args):
            yield from walk(child, (*path, index))


def size(node: Node) -> int:
    """Number of nodes."""
    return sum(1 for _ in walk(node))


def replace(node: Node, path: Path, new: Node) -> Node:
    """A copy of ``node`` whose subtree at ``path`` is ``new``."""
    if not path:
        return new
    if not isinstance(node, Call):
        raise IndexError(f"path {path} leads below a leaf")
    index, *rest = path
    args = list(node.args)
    args[index] = replace(args[index], tuple(rest), new)
    return Call(node.name, tuple(args))


def map_leaves(node: Node, change: Callable[[Node], Node]) -> Node:
    """A copy of ``node`` with ``change`` applied to every leaf."""
    if isinstance(node, Call):
        return Call(node.name, tuple(map_leaves(child, change) for child in node.args))
    return change(node)


def constants_of(node: Node) -> dict[str, float]:
    """Named constants in order of appearance."""
    return {leaf.name: leaf.value for _, leaf in walk(node) if isinstance(leaf, Constant)}
