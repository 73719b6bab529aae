"""Normal form: formulas that differ only in notation become the same text.

Covered: order of sums, products, min and max; double signs; ``sq``/``sqrt``/``**`` as one power;
repeated factors; magnitudes of magnitudes; names of constants. The form is compared, never
evaluated, so float rounding and the guards near zero are ignored. Formulas of equal ranking but
different form are not found here; the mask signature finds those.
"""

import math

from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Terminal
from autoprune.metrics.language.vocabulary import TERMINALS

Powers = dict[str, float]
Product = tuple[float, Powers]

_HOLE = "#"


def normal_form(node: Node, *, keep_values: bool) -> str:
    """Text that equivalent formulas share.

    Args:
        node: The tree.
        keep_values: Whether tunable constants count by value; otherwise all count as equal.
    """
    return _Normaliser(keep_values).text(node)


class _Normaliser:
    def __init__(self, keep_values: bool) -> None:
        self.keep_values = keep_values

    def text(self, node: Node) -> str:
        if isinstance(node, Call) and node.name in ("add", "sub"):
            return self._sum(node)
        return _written(self._product(node))

    def _sum(self, node: Node) -> str:
        terms: dict[str, float] = {}
        for sign, term in self._terms(node, 1.0):
            coefficient, powers = self._product(term)
            key = _written((1.0, powers))
            terms[key] = terms.get(key, 0.0) + sign * coefficient
        written = sorted(f"{_number(value)}*{key}" for key, value in terms.items() if value != 0)
        return f"({' + '.join(written)})" if written else "0"

    def _terms(self, node: Node, sign: float) -> list[tuple[float, Node]]:
        match node:
            case Call("add", (left, right)):
                return self._terms(left, sign) + self._terms(right, sign)
            case Call("sub", (left, right)):
                return self._terms(left, sign) + self._terms(right, -sign)
            case Call("neg", (operand,)):
                return self._terms(operand, -sign)
        return [(sign, node)]

    def _product(self, node: Node) -> Product:
        """A coefficient times powers of atoms."""
        match node:
            case Number(value):
                return value, {}
            case Constant(_, value):
                return (value, {}) if self.keep_values else (1.0, {_HOLE: 1.0})
            case Terminal(name):
                return 1.0, {name: 1.0}
            case Call("neg", (operand,)):
                return _scaled(self._product(operand), -1.0)
            case Call("mul", (left, right)):
                return _multiplied(self._product(left), self._product(right))
            case Call("div", (left, right)):
                return _multiplied(self._product(left), _raised(self._product(right), -1.0))
            case Call("abs", (operand,)):
                return _magnitude(self._product(operand))
            case Call("sq", (operand,)):
                return _raised(_magnitude(self._product(operand)), 2.0)
            case Call("sqrt", (operand,)):
                return _raised(_magnitude(self._product(operand)), 0.5)
            case Call("pow", (base, exponent)):
                return self._power(_magnitude(self._product(base)), self._product(exponent))
        return 1.0, {self._atom(node): 1.0}

    def _power(self, base: Product, exponent: Product) -> Product:
        coefficient, powers = exponent
        if not powers:
            return _raised(base, coefficient)
        return 1.0, {f"pow({_written(base)}, {_written(exponent)})": 1.0}

    def _atom(self, node: Node) -> str:
        if isinstance(node, Call) and node.name in ("add", "sub"):
            return self._sum(node)
        assert isinstance(node, Call)
        args = [self.text(child) for child in node.args]
        if node.name in ("min", "max"):
            args = sorted({part for child in node.args for part in self._chain(node.name, child)})
        return f"{node.name}({', '.join(args)})"

    def _chain(self, name: str, node: Node) -> list[str]:
        if isinstance(node, Call) and node.name == name:
            return [part for child in node.args for part in self._chain(name, child)]
        return [self.text(node)]


def _nonnegative(atom: str) -> bool:
    bare = atom in TERMINALS and TERMINALS[atom].nonnegative
    return bare or atom.startswith(("abs(", "exp(", "sigmoid(", "log1p(", "rank(", "minmax("))


def _magnitude(product: Product) -> Product:
    coefficient, powers = product
    result: Powers = {}
    for atom, exponent in powers.items():
        name = atom if _nonnegative(atom) else f"abs({atom})"
        result[name] = result.get(name, 0.0) + exponent
    return abs(coefficient), result


def _scaled(product: Product, factor: float) -> Product:
    return product[0] * factor, product[1]


def _raised(product: Product, exponent: float) -> Product:
    coefficient, powers = product
    raised = {atom: power * exponent for atom, power in powers.items()}
    try:
        return math.pow(coefficient, exponent), raised
    except (OverflowError, ValueError):
        # 0 ** -1 or an overflow: a value of its own, so that nothing else counts as equal to it.
        return 1.0, {f"({_number(coefficient)})^{_number(exponent)}": 1.0, **raised}


def _multiplied(left: Product, right: Product) -> Product:
    powers = dict(left[1])
    for atom, exponent in right[1].items():
        powers[atom] = powers.get(atom, 0.0) + exponent
    for atom in [a for a, p in powers.items() if p % 2 == 0 and not _nonnegative(a)]:
        # An even power has no sign: W * W is the square of abs(W).
        name = f"abs({atom})"
        powers[name] = powers.get(name, 0.0) + powers.pop(atom)
    return left[0] * right[0], powers


def _written(product: Product) -> str:
    coefficient, powers = product
    factors = sorted(
        atom if exponent == 1 else f"{atom}^{_number(exponent)}"
        for atom, exponent in powers.items()
        if exponent != 0
    )
    if coefficient != 1 or not factors:
        factors.insert(0, _number(coefficient))
    return " * ".join(factors)


def _number(value: float) -> str:
    # Twelve digits tell constants apart and hide rounding; short numbers keep recorded digests.
    short = format(value + 0.0, ".6g")
    return short if math.isclose(float(short), value, rel_tol=1e-12) else format(value, ".12g")
