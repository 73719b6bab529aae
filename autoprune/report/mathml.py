"""Formulas as MathML, which browsers render without any library.

Expressions of the metric language are also Python expressions, so Python's own parser reads them.
Nothing is evaluated. Anything that is not simple gives None and is shown as code.
"""

import ast
import re
from html import escape

_MAX_TEXT = 600
# A tunable constant of the metric language with its value: ``{a:0.5}``.
_TUNABLE = re.compile(r"\{\s*([A-Za-z_]\w*)\s*:\s*([-+.\w]+)\s*\}")
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eps": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "lam": "λ", "mu": "μ",
    "nu": "ν", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω",
}  # fmt: skip
# A bare | would be taken for an operator with wide spaces on both sides.
_OPEN = '<mo form="prefix" fence="true" lspace="0.1em" rspace="0">|</mo>'
_CLOSE = '<mo form="postfix" fence="true" lspace="0" rspace="0">|</mo>'
_STATISTICS = {
    "W": "<mi>W</mi>",
    "x_norm": "<mrow><mo>‖</mo><mi>x</mi><mo>‖</mo></mrow>",
    "x_mean": "<mover><mi>x</mi><mo>¯</mo></mover>",
    "x_var": "<msubsup><mi>σ</mi><mi>x</mi><mn>2</mn></msubsup>",
    "x_max": f"<mrow><mi>max</mi>{_OPEN}<mi>x</mi>{_CLOSE}</mrow>",
    "hessian_diag": "<msub><mi>h</mi><mi>j</mi></msub>",
    "grad_norm": "<mrow><mo>‖</mo><mo>∇</mo><mi>W</mi><mo>‖</mo></mrow>",
}
# How tightly each form binds; an operand that binds less gets parentheses.
_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = 1, 2, 3, 4, 5


def to_mathml(text: str) -> str | None:
    """MathML of a formula, safe to insert into HTML as is; None if it is not a simple formula."""
    text = text.strip()
    if not text.isprintable() or len(text) > _MAX_TEXT:
        return None
    constants = dict(_TUNABLE.findall(text))
    try:
        tree = ast.parse(_TUNABLE.sub(r"\1", text).replace("^", "**"), mode="eval")
        body, _ = _render(tree.body)
        for name, value in constants.items():
            body += f'<mspace width="1.2em"/>{_name(name)}<mo>=</mo><mn>{float(value):g}</mn>'
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    label = escape(text, quote=True)
    return f'<math displaystyle="true" aria-label="{label}"><mrow>{body}</mrow></math>'


def _render(node: ast.expr) -> tuple[str, int]:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return f"<mn>{escape(f'{value:g}')}</mn>", _ATOM
        case ast.Set(elts=[one]):
            return _render(one)
        case ast.Name(id=name):
            return _STATISTICS.get(name) or _name(name), _ATOM
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"<mrow><mo>−</mo>{_at_least(operand, _SIGN)}</mrow>", _SIGN
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(left, op, right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return _call(name, args)
    raise ValueError("not a simple formula")


def _binary(left: ast.expr, op: ast.operator, right: ast.expr) -> tuple[str, int]:
    match op:
        case ast.Add():
            return _joined(_at_least(left, _SUM), "+", _at_least(right, _SUM)), _SUM
        case ast.Sub():
            return _joined(_at_least(left, _SUM), "−", _at_least(right, _PRODUCT)), _SUM
        case ast.Mult():
            return _joined(_at_least(left, _PRODUCT), "·", _at_least(right, _PRODUCT)), _PRODUCT
        case ast.Div():
            return f"<mfrac>{_row(left)}{_row(right)}</mfrac>", _PRODUCT
        case ast.Pow():
            return f"<msup>{_at_least(left, _ATOM)}{_row(right)}</msup>", _POWER
    raise ValueError("not a simple formula")


def _call(name: str, args: list[ast.expr]) -> tuple[str, int]:
    match name, args:
        case "abs", [one]:
            return f"<mrow>{_OPEN}{_row(one)}{_CLOSE}</mrow>", _ATOM
        case "sqrt", [one]:
            return f"<msqrt>{_row(one)}</msqrt>", _ATOM
        case "log1p", [one]:
            inner = f"<mn>1</mn><mo>+</mo>{_OPEN}{_row(one)}{_CLOSE}"
            return f"<mrow><mi>log</mi><mo>(</mo>{inner}<mo>)</mo></mrow>", _ATOM
        case "sigmoid", [one]:
            return f"<mrow><mi>σ</mi><mo>(</mo>{_row(one)}<mo>)</mo></mrow>", _ATOM
        case (("square" | "sq"), [one]):
            return f"<msup>{_at_least(one, _ATOM)}<mn>2</mn></msup>", _POWER
        case "exp", [one]:
            return f"<msup><mi>e</mi>{_row(one)}</msup>", _POWER
        case "pow", [base, power]:
            return f"<msup>{_at_least(base, _ATOM)}{_row(power)}</msup>", _POWER
        case "div", [above, below]:
            return f"<mfrac>{_row(above)}{_row(below)}</mfrac>", _PRODUCT
        case "neg", [one]:
            return f"<mrow><mo>−</mo>{_at_least(one, _SIGN)}</mrow>", _SIGN
    inner = "<mo>,</mo>".join(_row(arg) for arg in args)
    return f"<mrow>{_function(name)}<mo>(</mo>{inner}<mo>)</mo></mrow>", _ATOM


def _function(name: str) -> str:
    """``row_mean`` becomes mean with a subscript; other names stay as they are."""
    axis, _, rest = name.partition("_")
    if rest and axis in ("row", "col", "matrix", "layer"):
        return f"<msub><mi>{escape(rest)}</mi><mtext>{axis}</mtext></msub>"
    return f"<mi>{escape(name)}</mi>"


def _name(name: str) -> str:
    head, _, rest = name.partition("_")
    letter = f"<mi>{_GREEK.get(head) or escape(head) or '_'}</mi>"
    return f"<msub>{letter}<mtext>{escape(rest)}</mtext></msub>" if rest else letter


def _row(node: ast.expr) -> str:
    return f"<mrow>{_render(node)[0]}</mrow>"


def _at_least(node: ast.expr, binding: int) -> str:
    text, own = _render(node)
    return text if own >= binding else f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"


def _joined(left: str, sign: str, right: str) -> str:
    return f"<mrow>{left}<mo>{sign}</mo>{right}</mrow>"
