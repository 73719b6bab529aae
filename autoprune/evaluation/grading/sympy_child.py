"""Child process of the symbolic check: reads trees as JSON lines, answers whether they are equal.

It builds expressions node by node from a closed list of kinds; no text is ever parsed by sympy,
whose own parser evaluates Python. Started as a file, so it imports nothing from the package.
"""

import json
import resource
import sys
from typing import Any

import sympy

MEMORY_BYTES = 2 << 30
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infinity": sympy.oo}
_CALLS = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec,
    "csc": sympy.csc, "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "ln": sympy.log,
    "exp": sympy.exp, "abs": sympy.Abs,
}  # fmt: skip


def build(tree: list[Any]) -> Any:
    """Expression of a tree ``[kind, value, [parts]]``; KeyError for a kind it does not know."""
    kind, value, parts = tree[0], tree[1], [build(part) for part in tree[2]]
    if kind == "number":
        return sympy.Rational(value)
    if kind in ("symbol", "text"):
        return sympy.Symbol(value)
    if kind == "constant":
        return _CONSTANTS[value]
    if kind == "call":
        return _call(value, parts)
    return {
        "add": lambda: sympy.Add(*parts),
        "mul": lambda: sympy.Mul(*parts),
        "neg": lambda: -parts[0],
        "div": lambda: parts[0] / parts[1],
        "pow": lambda: sympy.Pow(parts[0], parts[1]),
        "factorial": lambda: sympy.factorial(parts[0]),
    }[kind]()


def _call(name: str, parts: list[Any]) -> Any:
    if name == "sqrt":
        return sympy.root(parts[0], parts[1] if len(parts) > 1 else 2)
    if name == "log":
        # Without a base, it may mean 10 or e; it equals only itself.
        return sympy.log(*parts) if len(parts) > 1 else sympy.Function("log_unspecified")(*parts)
    return _CALLS[name](*parts)


def equal(first: list[Any], second: list[Any]) -> bool:
    """Whether two trees are equal everywhere; undefined values equal nothing."""
    a, b = build(first), build(second)
    if any(value.has(sympy.nan, sympy.zoo) for value in (a, b)):
        return False
    if a == b:
        return True
    if a.free_symbols != b.free_symbols and not (a - b).free_symbols:
        return False
    return bool(sympy.simplify(a - b) == 0)


def main() -> None:
    """Serve requests from standard input until it closes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"equal": equal(*json.loads(line))}
        except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError,
                NotImplementedError, RecursionError, MemoryError) as error:  # fmt: skip
            answer = {"equal": False, "error": type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
