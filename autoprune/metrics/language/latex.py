"""Trees to LaTeX that both MathJax and matplotlib's mathtext render.

i runs over outputs, j over inputs. Tunable constants appear by name.
"""

from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Terminal
from autoprune.metrics.language.printing import PRECEDENCE, number_text, precedence, shows_magnitude
from autoprune.metrics.language.vocabulary import TERMINALS

_AXES = {"row": "j", "col": "i"}
_POWER_BASES = (Number, Constant)


def to_latex(node: Node) -> str:
    """LaTeX of one score, without dollar signs."""
    match node:
        case Number(value):
            return _number(value)
        case Constant(name, _):
            return _name(name)
        case Terminal(name):
            return TERMINALS[name].latex
        case Call("div", (top, bottom)):
            return rf"\frac{{{to_latex(top)}}}{{{to_latex(bottom)}}}"
        case Call("add" | "sub" as name, (left, right)):
            sign = "+" if name == "add" else "-"
            return f"{to_latex(left)} {sign} {_inside(right, PRECEDENCE['mul'])}"
        case Call("mul", (left, right)):
            level = PRECEDENCE["mul"]
            return rf"{_inside(left, level)} \cdot {_inside(right, level + 1)}"
        case Call("neg", (operand,)):
            return f"-{_inside(operand, PRECEDENCE['neg'])}"
        case Call("pow", (base, exponent)):
            return f"{_base(base)}^{{{to_latex(exponent)}}}"
        case Call("sq", (operand,)):
            return f"{_parenthesised(operand)}^{{2}}"
        case Call(name, args):
            return _function(name, [to_latex(child) for child in args])


def _function(name: str, args: list[str]) -> str:
    joined = ", ".join(args)
    if name == "abs":
        return rf"\left|{joined}\right|"
    if name == "sqrt":
        return rf"\sqrt{{\left|{joined}\right|}}"
    if name == "log1p":
        return rf"\log\left(1 + \left|{joined}\right|\right)"
    axis, _, statistic = name.partition("_")
    if statistic == "sum":
        return rf"\sum_{_AXES[axis]}\left({joined}\right)"
    if statistic == "norm":
        return rf"\left\Vert {joined}\right\Vert_{{{_AXES[axis]}}}"
    if statistic:
        return rf"\mathrm{{{statistic}}}_{_AXES[axis]}\left({joined}\right)"
    return rf"\mathrm{{{name}}}\left({joined}\right)"


def _base(node: Node) -> str:
    # Powers take the magnitude, so the bars are part of the meaning.
    return to_latex(node) if shows_magnitude(node) else rf"\left|{to_latex(node)}\right|"


def _parenthesised(node: Node) -> str:
    if isinstance(node, _POWER_BASES) or (isinstance(node, Call) and node.name == "abs"):
        return to_latex(node)
    return rf"\left({to_latex(node)}\right)"


def _inside(node: Node, level: int) -> str:
    text = to_latex(node)
    if precedence(node) >= level or (isinstance(node, Call) and node.name == "div"):
        return text
    return rf"\left({text}\right)"


def _number(value: float) -> str:
    mantissa, _, exponent = number_text(value).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def _name(name: str) -> str:
    if len(name) == 1:
        return name
    return rf"\mathrm{{{name.replace('_', ' ')}}}"
