r"""A small parser for answers in LaTeX or plain text: only listed characters and commands pass.

Conventional readings: ``1\frac12`` and ``-1 1/2`` are mixed numbers, ``2(1/2)`` is a product,
``x^12`` has the exponent 12, ``1,000`` outside brackets is a thousand, ``(1,2)`` is a tuple.
"""

import re

from autoprune.evaluation.grading.syntax import AnswerNode, UnreadableAnswerError

LONGEST_ANSWER = 400
_DEEPEST = 40
_LARGEST_EXPONENT = 400

_ALLOWED = re.compile(r"[A-Za-z0-9\s\\{}()\[\]|+\-*/^_=<>!%.,;:&$'~]*")
_REPLACED = {
    "−": "-", "–": "-", "×": "*", "·": "*", "÷": "/", "⁄": "/", "π": r"\pi ", "√": r"\sqrt ",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "°": r"^\circ ", "½": r"\frac12",
    "²": "^2", "³": "^3", "\u00a0": " ", "**": "^",
}  # fmt: skip
_DROPPED = re.compile(
    r"\\(?:left|right|big|Big|displaystyle|quad|qquad)(?![a-zA-Z])|\\[,;:! ]|~|\\\(|\\\)|\\\[|\\\]"
)
# LaTeX that keeps a comma, or a thin space, from looking like one between two numbers.
_GROUPED = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)(?=\d{3}(?!\d))")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
# What has other commas, or brackets in which they separate.
_LIST = re.compile(r"[()\[\]|;]|\\\{|,(?!\d{3}(?!\d))|(?<!\d),")
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+(?![\d.]))?")
# LaTeX takes one digit for an argument; the sign stands before a whole number.
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?)")
_WORDS = re.compile(r"[A-Za-z]{2,}(?:[\s'-]+[A-Za-z]+)*")
_COMMAND = re.compile(r"\\([A-Za-z]+|[{}%$])\s*")
_TEXT = {"text", "mathrm", "textbf", "mathbf", "textit", "mbox", "operatorname"}
_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh",
    "tanh", "ln", "log", "exp", "sqrt",
}  # fmt: skip
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "nu", "rho", "sigma",
    "tau", "phi", "varphi", "psi", "omega", "Gamma", "Delta", "Omega", "Phi", "Psi", "Sigma",
}  # fmt: skip
_SIGNS = {"=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!="}
_SIGN_COMMANDS = {"le": "<=", "leq": "<=", "ge": ">=", "geq": ">=", "ne": "!=", "neq": "!=",
                  "in": "in", "lt": "<", "gt": ">"}  # fmt: skip
_CONSTANTS = {"pi": "pi", "infty": "infinity"}


def tidy(text: str) -> str:
    """``text`` without math mode, sizing commands, outer spaces and a final full stop."""
    text = _GROUPED.sub(",", _ROOT.sub(r"\\sqrt{\1}", text))
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", _DROPPED.sub(" ", text))
    text = re.sub(r"(?<!\\)\$", " ", text)
    text = " ".join(text.split()).removesuffix(".").strip()
    whole = re.fullmatch(r"\\text(?:bf|it|rm)?\{([^{}\\]*)\}", text)
    return whole[1].strip() if whole else text


def parse_answer(text: str) -> AnswerNode:
    r"""Syntax tree of one answer."""
    if len(text) > LONGEST_ANSWER:
        raise UnreadableAnswerError(f"{len(text)} characters; at most {LONGEST_ANSWER} are read")
    text = tidy(text)
    if not _ALLOWED.fullmatch(text):
        raise UnreadableAnswerError("characters outside plain mathematics")
    if _WORDS.fullmatch(text) and text not in _FUNCTIONS:
        # Letters alone are a word, not a product: "no" must not equal "on".
        return AnswerNode("text", text)
    if not _LIST.search(text):
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    parser = _AnswerParser(text)
    try:
        node = parser.items(closers="")
    except IndexError:
        raise UnreadableAnswerError("the expression ends too early") from None
    if parser.rest():
        raise UnreadableAnswerError(f"cannot read {parser.rest()[:20]!r}")
    _check_depth(node)
    return node


def _check_depth(node: AnswerNode) -> None:
    # Signs in a row nest the tree without nesting the text; later walks are recursive.
    level, depth = [node], 0
    while level:
        level, depth = [part for parent in level for part in parent.parts], depth + 1
    if depth > 2 * _DEEPEST:
        raise UnreadableAnswerError(f"{depth} operations deep; at most {2 * _DEEPEST}")


class _AnswerParser:
    """Recursive descent over characters, because LaTeX arguments are single characters."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._bars = 0

    def rest(self) -> str:
        return self._text[self._at :].lstrip()

    def items(self, closers: str) -> AnswerNode:
        """Comma-separated relations up to, and excluding, a closer; one alone is itself."""
        parts = [self._relation()]
        while self._take(","):
            parts.append(self._relation())
        if closers and not self._peek(closers):
            raise UnreadableAnswerError(f"expected one of {closers!r}")
        return parts[0] if len(parts) == 1 else AnswerNode("sequence", ",", tuple(parts))

    def _relation(self) -> AnswerNode:
        node = self._sum()
        while sign := self._sign():
            node = AnswerNode("relation", sign, (node, self._sum()))
        return node

    def _sum(self) -> AnswerNode:
        parts = [self._product()]
        while sign := (self._take("+") or self._take("-")):
            part = self._product()
            parts.append(part if sign == "+" else AnswerNode("neg", "", (part,)))
        return parts[0] if len(parts) == 1 else AnswerNode("add", "", tuple(parts))

    def _product(self) -> AnswerNode:
        node = self._signed()
        while True:
            if self._take("*") or self._take_command("cdot", "times"):
                node = AnswerNode("mul", "", (node, self._signed()))
            elif self._take("/") or self._take_command("div"):
                node = AnswerNode("div", "", (node, self._signed()))
            elif self._starts_factor():
                node = self._adjacent(node)
            else:
                return node

    def _adjacent(self, node: AnswerNode) -> AnswerNode:
        """A factor without a sign before it: a mixed number or a product."""
        digit = self._peek("0123456789.")
        # 2(1/2) and (2)\frac12 are products.
        bracketed = self._peek("(") or self._text[: self._at].rstrip().endswith(")")
        factor = self._power()
        negative = node.kind == "neg"
        whole = node.parts[0] if negative else node
        if whole.kind == "number" and whole.value.isdigit() and not bracketed:
            fraction = factor
            if digit and factor.value.isdigit() and self._take("/"):
                fraction = AnswerNode("div", "", (factor, self._power()))
            if fraction.kind == "div" and all(p.value.isdigit() for p in fraction.parts):
                mixed = AnswerNode("add", "", (whole, fraction))
                return AnswerNode("neg", "", (mixed,)) if negative else mixed
        if digit:
            raise UnreadableAnswerError("two numbers side by side")
        last = node.parts[-1] if node.kind in ("mul", "div") else node
        if last is not node and last.kind == "number" and factor.kind == "div" and not bracketed:
            # Such as 2\\cdot1\\frac12: three, or one?
            raise UnreadableAnswerError("a mixed number in a product")
        return AnswerNode("mul", "", (node, factor))

    def _signed(self) -> AnswerNode:
        negative = False
        while sign := (self._take("-") or self._take("+")):
            negative ^= sign == "-"
        node = self._power()
        return AnswerNode("neg", "", (node,)) if negative else node

    def _power(self) -> AnswerNode:
        node = self._atom()
        while True:
            if self._take("!"):
                node = AnswerNode("factorial", "", (node,))
            elif self._take("%") or self._take_command("%"):
                node = AnswerNode("unit", "%", (node,))
            elif self._peek("\\") and (name := self._look_command()) in _TEXT:
                self._take_command(str(name))
                node = AnswerNode("unit", self._verbatim(), (node,))
            elif self._take("^"):
                if self._take_command("circ") or self._take("{\\circ}"):
                    node = AnswerNode("unit", "degree", (node,))
                    continue
                return AnswerNode("pow", "", (node, self._exponent()))
            else:
                return node

    def _exponent(self) -> AnswerNode:
        if self._take("-"):
            return AnswerNode("neg", "", (self._exponent(),))
        return self._braced() if self._peek("{") else self._atom()

    def _atom(self) -> AnswerNode:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnreadableAnswerError(f"nested deeper than {_DEEPEST}")
        node = self._bare_atom()
        self._depth -= 1
        return node

    def _bare_atom(self) -> AnswerNode:
        self._skip()
        character = self._text[self._at]
        if number := _NUMBER.match(self._text, self._at):
            self._at = number.end()
            return _number(number[0])
        if character.isalpha():
            return self._letters()
        if character in "([":
            return self._delimited(character, ")]")
        if character == "{":
            return self._braced()
        if character == "|":
            self._at += 1
            self._bars += 1
            node = AnswerNode("call", "abs", (self._sum(),))
            self._bars -= 1
            self._need("|")
            return node
        if character == "\\":
            return self._command()
        raise UnreadableAnswerError(f"unexpected {character!r}")

    def _letters(self) -> AnswerNode:
        run = re.compile("[A-Za-z]+").match(self._text, self._at)
        name = run[0] if run else ""
        if name in _FUNCTIONS or name == "pi":
            self._at += len(name)
            return AnswerNode("constant", "pi") if name == "pi" else self._call(name)
        if len(name) > 3:
            raise UnreadableAnswerError(f"the word {name!r} stands in an expression")
        self._at += 1
        return self._subscripted(self._text[self._at - 1])

    def _subscripted(self, name: str) -> AnswerNode:
        if not self._take("_"):
            return AnswerNode("constant", name) if name in "ei" else AnswerNode("symbol", name)
        self._skip()
        if self._peek("{"):
            return AnswerNode("symbol", f"{name}_{self._verbatim()}")
        self._at += 1
        return AnswerNode("symbol", f"{name}_{self._text[self._at - 1]}")

    def _command(self) -> AnswerNode:
        name = self._look_command()
        if name == "$":
            self._take_command("$")
            return AnswerNode("unit", "$", (self._atom(),))
        if name == "{":
            self._take_command("{")
            node = self.items(closers="\\")
            if not self._take_command("}"):
                raise UnreadableAnswerError("the set is not closed")
            parts = node.parts if node.value == "," and node.kind == "sequence" else (node,)
            return AnswerNode("sequence", "{}", parts)
        if name is None:
            raise UnreadableAnswerError("a lone backslash")
        self._take_command(name)
        if name == "frac":
            return AnswerNode("div", "", (self._argument(), self._argument()))
        if name in _FUNCTIONS:
            return self._call(name)
        if name in _CONSTANTS:
            return AnswerNode("constant", _CONSTANTS[name])
        if name in _GREEK:
            return self._subscripted(name)
        if name in _TEXT:
            return AnswerNode("text", self._verbatim())
        raise UnreadableAnswerError(f"the command \\{name}")

    def _call(self, name: str) -> AnswerNode:
        base: tuple[AnswerNode, ...] = ()
        if name == "sqrt" and self._take("["):
            base = (self._sum(),)
            self._need("]")
        elif name == "log" and self._take("_"):
            base = (self._argument(),)
        if name == "sqrt":
            return AnswerNode("call", name, (self._argument(), *base))
        outer = self._exponent() if self._take("^") else None
        call = AnswerNode("call", name, (self._power(), *base))
        return AnswerNode("pow", "", (call, outer)) if outer else call

    def _argument(self) -> AnswerNode:
        """A LaTeX argument: a group, or the next single character."""
        self._skip()
        character = self._text[self._at]
        if character.isdigit():
            self._at += 1
            return AnswerNode("number", character)
        return self._braced() if character == "{" else self._atom()

    def _braced(self) -> AnswerNode:
        self._need("{")
        node = self._sum()
        self._need("}")
        return node

    def _delimited(self, opener: str, closers: str) -> AnswerNode:
        self._need(opener)
        node = self.items(closers)
        closer = self._text[self._at]
        self._at += 1
        if node.kind == "sequence" and node.value == ",":
            return AnswerNode("sequence", opener + closer, node.parts)
        if opener + closer == "()":
            return node
        return AnswerNode("sequence", opener + closer, (node,))

    def _verbatim(self) -> str:
        self._need("{")
        end = self._text.index("}", self._at) if "}" in self._text[self._at :] else -1
        if end < 0 or "{" in self._text[self._at : end]:
            raise UnreadableAnswerError("a text group that is nested or not closed")
        content, self._at = self._text[self._at : end].strip(), end + 1
        return content

    def _sign(self) -> str | None:
        self._skip()
        for length in (2, 1):
            sign = _SIGNS.get(self._text[self._at : self._at + length])
            if sign:
                self._at += length
                return sign
        name = self._look_command()
        if name in _SIGN_COMMANDS:
            self._take_command(name)
            return _SIGN_COMMANDS[name]
        return None

    def _starts_factor(self) -> bool:
        self._skip()
        rest = self._text[self._at :]
        if not rest:
            return False
        if rest[0] == "\\":
            name = self._look_command()
            return name in _FUNCTIONS or name in _GREEK or name in _CONSTANTS or name == "frac"
        return rest[0].isalnum() or rest[0] in "({." or (rest[0] == "|" and not self._bars)

    def _look_command(self) -> str | None:
        found = _COMMAND.match(self._text, self._at)
        return found[1] if found else None

    def _take_command(self, *names: str) -> bool:
        self._skip()
        found = _COMMAND.match(self._text, self._at)
        if not found or found[1] not in names:
            return False
        self._at = found.end()
        return True

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _peek(self, characters: str) -> bool:
        self._skip()
        return self._at < len(self._text) and self._text[self._at] in characters

    def _take(self, token: str) -> str:
        self._skip()
        if not self._text.startswith(token, self._at):
            return ""
        self._at += len(token)
        return token

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise UnreadableAnswerError(f"expected {token!r}")


def _number(text: str) -> AnswerNode:
    mantissa, _, exponent = text.lower().partition("e")
    if exponent and abs(int(exponent)) > _LARGEST_EXPONENT:
        raise UnreadableAnswerError(f"the exponent {exponent}")
    return AnswerNode("number", mantissa.removesuffix(".") + (f"e{exponent}" if exponent else ""))
