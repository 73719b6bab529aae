"""All formulas with one term fewer, to measure what each term is worth."""

from collections.abc import Iterator
from typing import NamedTuple

from autoprune.metrics.language.expression import Expression
from autoprune.metrics.language.nodes import Call, Node, Number, Terminal, replace, walk
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import OPERATIONS, TERMINALS, ShapeMismatchError


class Ablation(NamedTuple):
    """A formula without one of its terms.

    Args:
        dropped: The dropped term as text, for example ``x_norm`` or ``sqrt(...)``.
        expression: What is left.
    """

    dropped: str
    expression: Expression


def ablations(expression: Expression) -> list[Expression]:
    """All valid formulas that drop one term; see :func:`term_ablations`."""
    return [ablation.expression for ablation in term_ablations(expression)]


def term_ablations(expression: Expression) -> list[Ablation]:
    """All valid formulas that drop one operand, exponent or function.

    Rewrites of the original are left out, and equivalent results appear once. The order is that of
    the terms in the text.
    """
    seen = {expression.digest}
    found: list[Ablation] = []
    for path, node in walk(expression.tree):
        for dropped, rest in _drops(node):
            try:
                shorter = Expression.from_tree(replace(expression.tree, path, rest))
            except ShapeMismatchError:
                continue
            if shorter.digest not in seen:
                seen.add(shorter.digest)
                found.append(Ablation(dropped, shorter))
    return found


def _drops(node: Node) -> Iterator[tuple[str, Node]]:
    """What can be dropped at a node, and what replaces the node."""
    match node:
        case Call("sub", (left, right)):
            yield to_text(left), Call("neg", (right,))
            yield to_text(right), left
        case Call("div", (left, right)):
            yield to_text(left), Call("div", (Number(1.0), right))
            yield to_text(right), left
        case Call("pow", (base, exponent)):
            # The power took the magnitude; dropping the exponent must not bring the sign back.
            positive = isinstance(base, Terminal) and TERMINALS[base.name].nonnegative
            yield f"** {to_text(exponent)}", base if positive else Call("abs", (base,))
        case Call("add" | "mul" | "min" | "max", (left, right)):
            yield to_text(left), right
            yield to_text(right), left
        case Call(name, (operand, *_)) if OPERATIONS[name].rule in ("elementwise", "rescale"):
            yield "-" if name == "neg" else f"{name}(...)", operand
