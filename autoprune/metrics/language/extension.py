"""All formulas with one more factor, to measure which values are worth including."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from autoprune.metrics.language.expression import Expression
from autoprune.metrics.language.nodes import Call, Constant, Node, Shape, Terminal
from autoprune.metrics.language.parser import fresh_name
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import TERMINALS, ShapeMismatchError

# Half a power: a step large enough to matter that seldom reverses the order.
EXPONENT = 0.5
_WEIGHT = Terminal("W")
_COLUMNS: tuple[Node, ...] = (
    Call("col_norm", (_WEIGHT,)),
    Call("col_max", (Call("abs", (_WEIGHT,)),)),
)
_ROWS: tuple[Node, ...] = (
    Call("row_norm", (_WEIGHT,)),
    Call("row_max", (Call("abs", (_WEIGHT,)),)),
)


class Extension(NamedTuple):
    """A formula with one more factor.

    Args:
        added: The factor, as text: ``* col_norm(W) ** 0.5`` or ``/ x_max ** 0.5``.
        opposite: Text of the extension that divides where this one multiplies, or the reverse.
        expression: The whole formula; the exponent is a tunable constant.
    """

    added: str
    opposite: str
    expression: Expression


def factor_extensions(
    expression: Expression, *, terminals: Collection[str], across_rows: bool
) -> list[Extension]:
    """Formulas that multiply or divide by a power of one value of columns, inputs or rows.

    A value that is already a factor is left out, since its exponent can be tuned. The order is the
    vocabulary's and not a ranking; to try them one by one, draw a random order.

    Args:
        expression: Formula to extend.
        terminals: Statistics that may be used.
        across_rows: Whether weights of several rows compete. If not, a factor for a whole row
            changes nothing and is left out.
    """
    taken = set(expression.constants)
    had = {to_text(node) for node in _factors(expression.tree)}
    inputs = [name for name in TERMINALS if name in terminals and _is_input(name)]
    values = [_positive(name) for name in inputs]
    found = []
    for value in (*_COLUMNS, *values, *(_ROWS if across_rows else ())):
        if to_text(value) in had:
            continue
        power = Call("pow", (value, Constant(fresh_name(taken), EXPONENT)))
        written = f"{to_text(value)} ** {EXPONENT:g}"
        signs = (("mul", f"* {written}", f"/ {written}"), ("div", f"/ {written}", f"* {written}"))
        for operation, added, opposite in signs:
            try:
                longer = Expression.from_tree(Call(operation, (expression.tree, power)))
            except ShapeMismatchError:  # the limits of size and depth
                continue
            found.append(Extension(added, opposite, longer))
    return found


def _is_input(name: str) -> bool:
    return TERMINALS[name].shape == Shape.IN


def _positive(name: str) -> Node:
    value = Terminal(name)
    return value if TERMINALS[name].nonnegative else Call("abs", (value,))


def _factors(node: Node) -> Iterator[Node]:
    """Factors and divisors at the top of a tree, without exponents."""
    match node:
        case Call("mul" | "div", (left, right)):
            yield from _factors(left)
            yield from _factors(right)
        case Call("pow", (base, _)):
            yield from _factors(base)
        case _:
            yield node
