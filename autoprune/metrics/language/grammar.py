"""The metric language as a GBNF grammar, so that a small model can only write valid formulas.

The grammar is a subset of what the parser accepts: canonical spacing, the first factor is always
a matrix that depends on ``W`` (so every text type-checks), and a fixed number of levels instead of
recursion (so generation ends). Tunable constants are written without a name, ``{0.5}``, since a
grammar cannot keep a name's value consistent; the parser names them a, b, c, ...

GBNF: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from collections.abc import Collection, Iterable

from autoprune.metrics.language.nodes import Shape
from autoprune.metrics.language.vocabulary import BASIC_TERMINALS, OPERATIONS, TERMINALS

LEVELS = (1, 2)


def gbnf(
    terminals: Collection[str] = BASIC_TERMINALS,
    *,
    levels: int = 2,
) -> str:
    """Grammar text for llama.cpp; every text it generates parses.

    Args:
        terminals: Names that may be used; ``W`` always may.
        levels: How deep functions and parentheses nest: 1 for very small models, 2 holds RIA.

    Raises:
        ValueError: If ``levels`` is neither 1 nor 2.
    """
    if levels not in LEVELS:
        raise ValueError(f"levels is {levels}; allowed: 1 or 2")
    vectors = _quoted(n for n, v in TERMINALS.items() if n in terminals and v.shape == Shape.IN)
    matrices = "weight" + (' | "grad_norm"' if "grad_norm" in terminals else "")
    rules = {
        "root": f"m{levels}",
        "number": '("0" | [1-9] [0-9]? [0-9]?) ("." [0-9] [0-9]? [0-9]?)? | [1-9] "e-" [1-9]',
        "constant": 'number | "{" number "}"',
        "power": '" ** " "-"? constant',
        "addition": '" + " | " - "',
        "scaling": '" * " | " / "',
        "weight": '"abs(W)" | "W"',
        "matrix": matrices,
        "leaf": f"{'vector | ' if vectors else ''}constant | matrix",
        "function": _functions("elementwise", 1),
        "pair": _functions("elementwise", 2),
        "rescale": _functions("rescale"),
        "total": _functions("over_all"),
        "statistic": " | ".join([*(_functions(rule) for rule in ("over_in", "over_out")), "total"]),
        "m0": "weight",
        "s0": "matrix",
        "e0": "leaf",
        "f0": "leaf power?",
    }
    if vectors:
        rules["vector"] = vectors
    for level in range(1, levels + 1):
        rules |= _level(level, top=level == levels, vectors=bool(vectors))
    return "".join(f"{name} ::= {rule}\n" for name, rule in rules.items())


def _level(k: int, *, top: bool, vectors: bool) -> dict[str, str]:
    """m: matrix with W, s: matrix for a statistic, e: anything; f: a factor of e, and so on."""
    below = k - 1
    on_vector = '| total "(" vector ")" ' if vectors else ""
    clip = f'| "clip(" m{below} ", " constant ", " constant ")"'
    more = f"(scaling f{k})?" + (f" (scaling f{k})?" if top else "")
    rules = {
        f"ma{k}": (
            f'weight | function "(" m{below} ")" | rescale "(" m{below} ")" | "(" m{below} ")" '
            f'| pair "(" m{below} ", " f{below} ")" {clip}'
        ),
        f"a{k}": (
            f'leaf | function "(" e{below} ")" | statistic "(" s{below} ")" {on_vector}'
            f'| rescale "(" s{below} ")" '
            f'| "(" e{below} ")"'
        ),
        f"f{k}": f"a{k} power?",
        f"t{k}": f"f{k} (scaling f{k})?",
        f"m{k}": f"ma{k} power? {more} (addition t{k})?",
    }
    if not top:
        rules[f"e{k}"] = f"t{k} (addition t{k})?"
        rules[f"s{k}"] = f"matrix | m{k}"
    return rules


def _functions(rule: str, arity: int | None = None) -> str:
    """Alternatives of one kind."""
    names = [
        name
        for name, operation in OPERATIONS.items()
        if operation.rule == rule and operation.meaning and arity in (None, operation.arity)
    ]
    return _quoted(names)


def _quoted(names: Iterable[str]) -> str:
    return " | ".join(f'"{name}"' for name in names)
