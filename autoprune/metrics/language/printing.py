"""Trees to canonical text: the fewest parentheses, one space around operators, shortest numbers."""

from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Terminal
from autoprune.metrics.language.vocabulary import INFIX

PRECEDENCE = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}
ATOM = 5


def number_text(value: float) -> str:
    """Shortest decimal that reads back as ``value``; whole numbers without a point."""
    whole = int(value)
    return str(whole) if whole == value else repr(value)


def precedence(node: Node) -> int:
    """Binding strength of the node's outermost operator; larger binds tighter."""
    return PRECEDENCE.get(node.name, ATOM) if isinstance(node, Call) else ATOM


def shows_magnitude(node: Node) -> bool:
    """Whether this needs no bars where the language takes its magnitude, as powers and roots do."""
    match node:
        case Number() | Constant() | Call("abs", _):
            return True
        case _:
            return node == Terminal("x_norm")


def to_text(node: Node) -> str:
    """Canonical text; parsing it gives the same tree again."""
    match node:
        case Number(value):
            return number_text(value)
        case Constant(name, value):
            return f"{{{name}:{number_text(value)}}}"
        case Terminal(name):
            return name
        case Call("neg", (operand,)):
            return f"-{_inside(operand, PRECEDENCE['neg'])}"
        case Call("pow", (base, exponent)):
            return f"{_inside(base, ATOM)} ** {_inside(exponent, PRECEDENCE['neg'])}"
        case Call(name, (left, right)) if name in INFIX:
            level = PRECEDENCE[name]
            return f"{_inside(left, level)} {INFIX[name]} {_inside(right, level + 1)}"
        case Call(name, args):
            return f"{name}({', '.join(to_text(child) for child in args)})"


def nesting(node: Node) -> int:
    """How deep the parser descends in :func:`to_text`: into brackets, signs and exponents."""
    match node:
        case Call("neg", (operand,)):
            return 1 + _nesting_inside(operand, PRECEDENCE["neg"])
        case Call("pow", (base, exponent)):
            inner = 1 + _nesting_inside(exponent, PRECEDENCE["neg"])
            return max(_nesting_inside(base, ATOM), inner)
        case Call(name, (left, right)) if name in INFIX:
            level = PRECEDENCE[name]
            return max(_nesting_inside(left, level), _nesting_inside(right, level + 1))
        case Call(_, args):
            return 1 + max(map(nesting, args))
    return 0


def _nesting_inside(node: Node, level: int) -> int:
    return nesting(node) + (precedence(node) < level)


def _inside(node: Node, level: int) -> str:
    text = to_text(node)
    return text if precedence(node) >= level else f"({text})"
