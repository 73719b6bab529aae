"""Recursive descent from tokens to a typed tree.

Grammar (loosest first), the same precedences as Python::

    formula  = sum end
    sum      = product (("+" | "-") product)*
    product  = unary (("*" | "/") unary)*
    unary    = ("+" | "-") unary | power
    power    = atom ("**" unary)?
    atom     = number | constant | terminal | function "(" sum ("," sum)* ")" | "(" sum ")"
    constant = "{" name ":" signed "}" | "{" signed "}" | "{" name "}"
"""

import difflib
import math
from collections.abc import Collection

from autoprune.metrics.language.errors import ExpressionError
from autoprune.metrics.language.lexer import Token, tokenize
from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Shape, Terminal, size
from autoprune.metrics.language.printing import nesting
from autoprune.metrics.language.vocabulary import (
    FUNCTIONS,
    OPERATIONS,
    TERMINALS,
    ShapeMismatchError,
    result_shape,
)

MAX_SIZE = 200
MAX_NESTING = 24
MAX_CONSTANT = 1e6
MAX_NAME = 16

_SUM = {"+": "add", "-": "sub"}
_PRODUCT = {"*": "mul", "/": "div"}

Typed = tuple[Node, Shape]


def parse_tree(text: str, terminals: Collection[str]) -> Node:
    """Parse and type-check a formula.

    Args:
        text: The formula.
        terminals: Names that may be used, a subset of ``TERMINALS``.

    Raises:
        ExpressionError: If the text is not a formula that scores every weight.
    """
    return _Parser(text, terminals).formula()


class _Parser:
    def __init__(self, text: str, terminals: Collection[str]) -> None:
        self.text = text
        self.terminals = [name for name in TERMINALS if name in terminals]
        self.tokens = tokenize(text)
        self.index = 0
        self.nesting = 0
        self.count = 0
        self.constants: dict[str, float] = {}
        # Names used anywhere count as taken, so that an unnamed constant never collides with one.
        self.written = {token.text for token in self.tokens if token.kind == "name"}

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def formula(self) -> Node:
        if self.token.kind == "end":
            raise self._error("empty formula; write one such as abs(W) * x_norm")
        node, shape = self._sum()
        if self.token.kind != "end":
            raise self._stray()
        if shape != Shape.MATRIX:
            raise self._error(
                f"the formula has shape {shape.label}, but a score for each weight [out,in] is "
                "needed; multiply it by abs(W)",
                0,
            )
        if not any(token.text == "W" for token in self.tokens):
            raise self._error("the formula does not use W; multiply it by abs(W)", 0)
        return node

    def _sum(self) -> Typed:
        left = self._product()
        while self.token.text in _SUM:
            token = self._next()
            left = self._apply(_SUM[token.text], [left, self._product()], token)
        return left

    def _product(self) -> Typed:
        left = self._unary()
        while self.token.text in _PRODUCT:
            token = self._next()
            left = self._apply(_PRODUCT[token.text], [left, self._unary()], token)
        return left

    def _unary(self) -> Typed:
        if self.token.text not in _SUM:
            return self._power()
        token = self._next()
        self._descend(token)
        operand = self._unary()
        self.nesting -= 1
        return operand if token.text == "+" else self._apply("neg", [operand], token)

    def _power(self) -> Typed:
        base = self._atom()
        if self.token.text != "**":
            return base
        token = self._next()
        self._descend(token)
        exponent = self._unary()
        self.nesting -= 1
        return self._apply("pow", [base, exponent], token)

    def _atom(self) -> Typed:
        token = self._next()
        match token.kind, token.text:
            case "number", _:
                return self._leaf(Number(self._value(token)), token), Shape.SCALAR
            case "name", name if name in OPERATIONS and name in FUNCTIONS:
                return self._call(token)
            case "name", _:
                return self._terminal(token)
            case _, "(":
                self._descend(token)
                inner = self._sum()
                self.nesting -= 1
                self._expect(")")
                return inner
            case _, "{":
                return self._constant(token), Shape.SCALAR
        raise self._stray(token)

    def _call(self, token: Token) -> Typed:
        arity = OPERATIONS[token.text].arity
        form = f"{token.text}({', '.join('xyz'[:arity])})"
        if self.token.text != "(":
            raise self._error(f"{token.text} is a function; write {form}", token.position)
        self._descend(self._next())
        args = [self._sum()]
        while self.token.text == ",":
            self._next()
            args.append(self._sum())
        self.nesting -= 1
        self._expect(")")
        if len(args) != arity:
            hint = "; for one value use row_max, col_max or minmax" if len(args) == 1 else ""
            raise self._error(
                f"{token.text} takes {arity} argument{'s' if arity > 1 else ''}, got {len(args)}; "
                f"write {form}{hint}",
                token.position,
            )
        return self._apply(token.text, args, token)

    def _terminal(self, token: Token) -> Typed:
        name = token.text
        if name not in self.terminals:
            raise self._unknown(token)
        if self.token.text == "(":
            raise self._error(f"{name} is a value, not a function; write {name} alone")
        return self._leaf(Terminal(name), token), TERMINALS[name].shape

    def _constant(self, opening: Token) -> Node:
        name = self._next() if self.token.kind == "name" else None
        if name is not None and self.token.text not in (":", "="):
            self._expect("}")
            if name.text not in self.constants:
                raise self._error(
                    f"constant {name.text!r} has no value yet; write {{{name.text}:0.5}}",
                    name.position,
                )
            return self._leaf(Constant(name.text, self.constants[name.text]), opening)
        if name is not None:
            self._next()
        sign = 1.0
        while self.token.text in _SUM:
            sign = -sign if self._next().text == "-" else sign
        if self.token.kind != "number":
            raise self._error("a tunable constant is a name and a number, such as {a:0.5}")
        value = sign * self._value(self._next())
        self._expect("}")
        label = self._fresh_name() if name is None else self._checked_name(name, value)
        self.constants[label] = value
        return self._leaf(Constant(label, value), opening)

    def _checked_name(self, token: Token, value: float) -> str:
        name = token.text
        if name in TERMINALS or name in OPERATIONS or len(name) > MAX_NAME:
            raise self._error(
                f"{name[:40]!r} cannot name a constant; use a short new name, such as a, b or c",
                token.position,
            )
        if self.constants.get(name, value) != value:
            raise self._error(
                f"constant {name!r} was {self.constants[name]:g} before; "
                "give the same value or another name",
                token.position,
            )
        return name

    def _fresh_name(self) -> str:
        return fresh_name({*self.constants, *self.written})

    def _value(self, token: Token) -> float:
        value = float(token.text)
        if not math.isfinite(value) or value > MAX_CONSTANT:
            raise self._error(
                f"{token.text[:40]} is too large; constants go up to {MAX_CONSTANT:g}",
                token.position,
            )
        return value

    def _apply(self, name: str, operands: list[Typed], token: Token) -> Typed:
        try:
            shape = result_shape(name, [shape for _, shape in operands])
        except ShapeMismatchError as error:
            raise self._error(str(error), token.position) from None
        return self._leaf(Call(name, tuple(node for node, _ in operands)), token), shape

    def _leaf(self, node: Node, token: Token) -> Node:
        self.count += 1
        if self.count > MAX_SIZE:
            raise self._error(
                f"the formula has more than {MAX_SIZE} parts; write a shorter one", token.position
            )
        return node

    def _descend(self, token: Token) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self._error(
                f"nested more than {MAX_NESTING} deep; write a flatter formula", token.position
            )

    def _next(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.index += 1
        return token

    def _expect(self, symbol: str) -> None:
        if self.token.text != symbol:
            raise self._error(f"expected {symbol!r}, found {_name_of(self.token)}")
        self._next()

    def _stray(self, token: Token | None = None) -> ExpressionError:
        where = self.token if token is None else token
        wanted = "an operator (+ - * / **) or the end" if token is None else "a value"
        detail = f"expected {wanted}, found {_name_of(where)}"
        if token is not None:
            detail += f"; values: {', '.join(self.terminals)}, a number, {{a:0.5}} or a function"
        return self._error(detail, where.position)

    def _unknown(self, token: Token) -> ExpressionError:
        name = token.text[:40]
        values = ", ".join(self.terminals)
        if name in TERMINALS:
            return self._error(
                f"{name!r} is not available in this run; values: {values}", token.position
            )
        if name in self.constants:
            return self._error(f"write the constant {name!r} as {{{name}}}", token.position)
        if self.token.text == "=":
            return self._error("write only the formula, without 'score ='", token.position)
        if len(name) <= 2:
            values += "; a constant is written {a:0.5}"
        near = difflib.get_close_matches(name, [*self.terminals, *FUNCTIONS], n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}? " if near else ""
        return self._error(
            f"unknown name {name!r}; {hint}values: {values}; functions: {', '.join(FUNCTIONS)}",
            token.position,
        )

    def _error(self, detail: str, position: int | None = None) -> ExpressionError:
        where = self.token.position if position is None else position
        return ExpressionError(detail, self.text, where)


def _name_of(token: Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text[:40])


def fresh_name(taken: Collection[str]) -> str:
    """The first of a, b, ..., z, c1, c2, ... that is not taken."""
    letters = (chr(code) for code in range(ord("a"), ord("z") + 1))
    for name in letters:
        if name not in taken:
            return name
    number = 1
    while f"c{number}" in taken:
        number += 1
    return f"c{number}"


def check_size(node: Node) -> bool:
    """Whether a tree built by other means stays within what the parser accepts."""
    return size(node) <= MAX_SIZE and nesting(node) <= MAX_NESTING
