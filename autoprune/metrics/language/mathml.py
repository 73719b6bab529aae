"""Trees to MathML, which browsers render without any library.

Tunable constants appear by name, their values behind the formula.
"""

from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Terminal, constants_of
from autoprune.metrics.language.printing import (
    ATOM,
    PRECEDENCE,
    precedence,
    shows_magnitude,
    to_text,
)
from autoprune.metrics.language.vocabulary import TERMINALS

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eps": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "lam": "λ", "mu": "μ",
    "nu": "ν", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω",
}  # fmt: skip
# A bare | would be taken for an operator with wide spaces on both sides.
_OPEN = '<mo form="prefix" fence="true" lspace="0.1em" rspace="0">|</mo>'
_CLOSE = '<mo form="postfix" fence="true" lspace="0" rspace="0">|</mo>'
_TERMINALS = {
    "W": "<mi>W</mi>",
    "x_norm": "<mrow><mo>‖</mo><mi>x</mi><mo>‖</mo></mrow>",
    "x_mean": "<mover><mi>x</mi><mo>¯</mo></mover>",
    "x_var": "<msubsup><mi>σ</mi><mi>x</mi><mn>2</mn></msubsup>",
    "x_max": f"<mrow><mi>max</mi>{_OPEN}<mi>x</mi>{_CLOSE}</mrow>",
    "hessian_diag": "<msub><mi>h</mi><mi>j</mi></msub>",
    "grad_norm": "<mrow><mo>‖</mo><mo>∇</mo><mi>W</mi><mo>‖</mo></mrow>",
}
_OPERATIONS = {
    "add": "<mrow>%s<mo>+</mo>%s</mrow>",
    "sub": "<mrow>%s<mo>−</mo>%s</mrow>",
    "mul": "<mrow>%s<mo>·</mo>%s</mrow>",
    "div": "<mfrac><mrow>%s</mrow><mrow>%s</mrow></mfrac>",
    "neg": "<mrow><mo>−</mo>%s</mrow>",
    "pow": "<msup>%s<mrow>%s</mrow></msup>",
    "sq": "<msup>%s<mn>2</mn></msup>",
    "exp": "<msup><mi>e</mi><mrow>%s</mrow></msup>",
    "abs": f"<mrow>{_OPEN}<mrow>%s</mrow>{_CLOSE}</mrow>",
    "sqrt": "<msqrt><mrow>%s</mrow></msqrt>",
    "log1p": f"<mrow><mi>log</mi><mo>(</mo><mn>1</mn><mo>+</mo>{_OPEN}<mrow>%s</mrow>{_CLOSE}"
    "<mo>)</mo></mrow>",
    "sigmoid": "<mrow><mi>σ</mi><mo>(</mo><mrow>%s</mrow><mo>)</mo></mrow>",
}  # fmt: skip
_SUM, _PRODUCT, _POWER = PRECEDENCE["add"], PRECEDENCE["mul"], PRECEDENCE["pow"]
# Operands that bind less stand in brackets; those of other operations need none.
_LEAST = {
    "add": (_SUM, _SUM),
    "sub": (_SUM, _PRODUCT),
    "mul": (_PRODUCT, _PRODUCT),
    "neg": (PRECEDENCE["neg"],),
    "pow": (ATOM, 0),
    "sq": (ATOM,),
}


# What these take the magnitude of stands in bars.
_MAGNITUDES = frozenset({"pow", "sqrt"})


def to_mathml(root: Node) -> str:
    """A ``math`` element of one score, safe to insert into HTML as is."""
    values = "".join(
        f'<mspace width="1.2em"/>{_name(name)}<mo>=</mo><mn>{value:g}</mn>'
        for name, value in constants_of(root).items()
    )
    label = f'displaystyle="true" aria-label="{to_text(root)}"'
    return f"<math {label}><mrow>{_written(root)}{values}</mrow></math>"


def _written(node: Node) -> str:
    match node:
        case Number(value):
            return f"<mn>{value:g}</mn>"
        case Constant(name, _):
            return _name(name)
        case Terminal(name):
            return _TERMINALS.get(name) or _name(name)
        case Call(name, args):
            least = _LEAST.get(name, (0,) * len(args))
            operands = tuple(map(_bracketed, args, least))
            if name in _MAGNITUDES and _in_bars(name, args[0]):
                operands = (_OPERATIONS["abs"] % _written(args[0]), *operands[1:])
            return _OPERATIONS[name] % operands if name in _OPERATIONS else _call(name, operands)


def _in_bars(name: str, operand: Node) -> bool:
    # Below a root, bars around what is never negative say nothing; a power needs its base in one.
    never = isinstance(operand, Terminal) and TERMINALS[operand.name].nonnegative
    return not (shows_magnitude(operand) or (name == "sqrt" and never))


def _bracketed(node: Node, least: int) -> str:
    shown_as_power = isinstance(node, Call) and node.name in ("sq", "exp")
    binding = _POWER if shown_as_power else precedence(node)
    text = _written(node)
    return text if binding >= least else f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"


def _call(name: str, operands: tuple[str, ...]) -> str:
    """``row_mean`` becomes mean with a subscript; other names stay as they are."""
    axis, _, rest = name.partition("_")
    function = f"<msub><mi>{rest}</mi><mtext>{axis}</mtext></msub>" if rest else f"<mi>{name}</mi>"
    inner = "<mo>,</mo>".join(f"<mrow>{operand}</mrow>" for operand in operands)
    return f"<mrow>{function}<mo>(</mo>{inner}<mo>)</mo></mrow>"


def _name(name: str) -> str:
    head, _, rest = name.partition("_")
    letter = f"<mi>{_GREEK.get(head) or head or '_'}</mi>"
    return f"<msub>{letter}<mtext>{rest}</mtext></msub>" if rest else letter
