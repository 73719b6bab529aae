"""Answers to proposals: untrusted text in, a typed proposal or a coded rejection out."""

import ast
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from autoprune.design.chat import Reply
from autoprune.errors import UsageError
from autoprune.metrics.language import BASIC_TERMINALS, ExpressionError, parse
from autoprune.recipe import Candidate, Group

LONGEST_ANSWER = 20_000
LONGEST_SOURCE = 8_000
LONGEST_LINE = 200
LONGEST_DETAIL = 400

FIELD = re.compile(
    r"^[\s>*_#`-]*(because|expect|metric|group|allocation|lesson)[\s*_`]*[:=][\s*_`]*(.*?)[\s`*]*$",
    re.IGNORECASE,
)
EXPECTATION = re.compile(r"(better|worse)\s+than\s+(\S+)", re.IGNORECASE)
FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\r?\n(.*?)```", re.DOTALL)

Language = Literal["expression", "python", "both"]


@dataclass(frozen=True)
class Prediction:
    """What a hypothesis says will be measured; graded by the machine.

    Args:
        direction: Sign of the change of perplexity.
        versus: Alias of the entry compared with.
    """

    direction: Literal["better", "worse"]
    versus: str


@dataclass(frozen=True)
class Proposal:
    """A candidate as a designer wrote it."""

    because: str
    prediction: Prediction | None
    candidate: Candidate
    group: Group
    allocation: str


@dataclass(frozen=True)
class Unreadable:
    """An answer that holds no candidate.

    Args:
        code: ``empty``, ``truncated``, ``refused``, ``too_long``, ``no_metric``, ``bad_metric``,
            ``no_code``, ``bad_code``, ``bad_choice``.
        detail: One line that a designer can repair from.
        because: The reasoning, where it could be read.
    """

    code: str
    detail: str
    because: str = ""


@dataclass(frozen=True)
class AnswerForm:
    """What an answer may hold.

    Args:
        language: Formulas, Python, or both.
        groups: Allowed comparison groups; the first is the default.
        allocations: Allowed allocations; the first is the default.
        aliases: Entries that a prediction may name.
        terminals: Values that a formula may use.
    """

    language: Language
    groups: Sequence[Group]
    allocations: Sequence[str]
    aliases: Sequence[str] = ()
    terminals: Collection[str] = BASIC_TERMINALS


def read_answer(reply: Reply, form: AnswerForm) -> Proposal | Unreadable:
    """Turn an answer into a proposal.

    Accepts what small models wrap around the wanted lines (bullets, bold, back-ticks, any case);
    the first occurrence of a field counts.
    """
    text = reply.text
    if len(text) > LONGEST_ANSWER:
        return Unreadable("too_long", f"the answer has {len(text)} characters; write a short one")
    fields = _fields(text)
    because = one_line(fields.get("because", ""))
    if reply.finish_reason == "length":
        return Unreadable("truncated", "the answer was cut off; write a shorter one", because)
    if not text.strip():
        code = "refused" if reply.finish_reason == "error" else "empty"
        return Unreadable(code, "the answer is empty; write the lines asked for")
    found = _candidate(text, fields, form)
    if isinstance(found, Unreadable):
        return Unreadable(found.code, one_line(found.detail, LONGEST_DETAIL), because)
    group = _choice("group", fields, form.groups)
    allocation = _choice("allocation", fields, form.allocations)
    for choice in (group, allocation):
        if isinstance(choice, Unreadable):
            return Unreadable(choice.code, choice.detail, because)
    prediction = _prediction(fields.get("expect", ""), form.aliases)
    return Proposal(because, prediction, found, cast(Group, group), cast(str, allocation))


def read_lesson(reply: Reply) -> str | None:
    """The lesson line of a reflection, or None."""
    lesson = one_line(_fields(reply.text[:LONGEST_ANSWER]).get("lesson", ""), 160)
    return lesson if len(lesson) >= 8 else None


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Printable text on one line: no control, format or surrogate characters, spaces collapsed."""
    plain = unicodedata.normalize("NFKC", text[: 4 * limit])
    kept = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in plain)
    return " ".join(kept.split())[:limit]


def read_python(source: str) -> Candidate | Unreadable:
    """Check that Python source defines ``score(W, stats, params)``; it is never run here."""
    if len(source) > LONGEST_SOURCE:
        return Unreadable("bad_code", f"the code has {len(source)} characters; write a short one")
    tree = _tree(source)
    if isinstance(tree, Unreadable):
        return tree
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "score"]
    if len(functions) != 1:
        return Unreadable("bad_code", "define exactly one function score(W, stats, params)")
    arguments = functions[0].args
    if [a.arg for a in arguments.args] != ["W", "stats", "params"]:
        return Unreadable("bad_code", "score takes exactly the arguments W, stats, params")
    return Candidate("python", source.strip() + "\n")


def normalised(candidate: Candidate) -> str:
    """Text that is equal for candidates that differ in names, comments and layout only."""
    if candidate.kind == "expression":
        return parse(candidate.source).digest
    if candidate.kind == "python":
        tree = _tree(candidate.source)
        if isinstance(tree, ast.Module):
            return ast.dump(_Renamed().visit(tree))
    return candidate.source


def _candidate(text: str, fields: dict[str, str], form: AnswerForm) -> Candidate | Unreadable:
    blocks = FENCE.findall(text) if form.language != "expression" else []
    if blocks:
        return read_python(blocks[0])
    if form.language == "python":
        return Unreadable("no_code", "write the code in one ```python block")
    formula = fields.get("metric", "")
    if not formula:
        return Unreadable("no_metric", "the line 'metric: FORMULA' is missing")
    try:
        expression = parse(formula, terminals=form.terminals)
    except ExpressionError as error:
        return Unreadable("bad_metric", error.line)
    except UsageError as error:
        return Unreadable("bad_metric", str(error))
    return Candidate("expression", expression.text, dict(expression.constants))


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = FIELD.match(line[:4000])
        if match and match[1].lower() not in found:
            found[match[1].lower()] = match[2].strip()
    return found


def _choice(name: str, fields: dict[str, str], allowed: Sequence[str]) -> str | Unreadable:
    if name not in fields:
        return allowed[0]
    wanted = fields[name].lower().rstrip(".")
    if wanted in allowed:
        return wanted
    return Unreadable("bad_choice", f"{name} is one of: {', '.join(allowed)}")


def _prediction(text: str, aliases: Sequence[str]) -> Prediction | None:
    match = EXPECTATION.search(text[:LONGEST_LINE])
    if match is None or (versus := match[2].strip(".,;`*")) not in aliases:
        return None
    return Prediction("better" if match[1].lower() == "better" else "worse", versus)


def _tree(source: str) -> ast.Module | Unreadable:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        return Unreadable("bad_code", f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Unreadable("bad_code", f"unreadable code: {type(error).__name__}")


class _Renamed(ast.NodeTransformer):
    """Local names by order of appearance, docstrings gone."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if isinstance(node.ctx, ast.Store):
            self._names.setdefault(node.id, f"v{len(self._names)}")
        node.id = self._names.get(node.id, node.id)
        return node
