"""Parse untrusted answers into typed proposals or coded rejections."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from autoprune.candidate import Candidate, Group
from autoprune.design.chat import Reply
from autoprune.design.fields import (
    DEFINES,
    blocks_of,
    fields_of,
    without_code,
    without_thoughts,
)
from autoprune.design.parts import (
    Ranges,
    canonical_allocation,
    canonical_repair,
    family,
    program_fault,
)
from autoprune.design.repairs import read_repair
from autoprune.design.scheme_moves import read_scheme
from autoprune.design.source import signature_fault, without_names
from autoprune.errors import LONGEST_DETAIL, UsageError
from autoprune.metrics.language import BASIC_TERMINALS, ExpressionError, parse
from autoprune.program_files import BLOCK, LAYER, SIGNATURES, declared_constants, prunes_blocks
from autoprune.recipe import Recipe

LONGEST_ANSWER = 20_000
LONGEST_LINE = 200
LONGEST_NAME = 40
LONGEST_LESSON = 160
LONGEST_ALLOCATION = 400

_BETTER = r"better|lower|less|improv\w*|reduc\w*|decreas\w*|drop\w*|fall\w*"
_WORSE = r"worse|higher|more|increas\w*|rise\w*|rising|degrad\w*"
EXPECTATION = re.compile(r"(better|lower|worse|higher)\s+than\s+(\S+)", re.IGNORECASE)
DIRECTION = re.compile(rf"\b(?:({_BETTER})|({_WORSE}))\b", re.IGNORECASE)
WORSE = frozenset({"worse", "higher"})
# Accepts the minus signs that people and models type, and decimal commas.
FORECAST = re.compile(
    # A hyphen behind a digit is that of a range: of 5-10 %, the 10 counts.
    r"((?:(?<!\d)[-+\u2010\u2011\u2013\u2212\uff0d])?)\s*(?<![\d.,])(\d{1,4}(?:[.,]\d+)?)\s*%"
    rf"(?:[\s*_]*(?:{_BETTER}|{_WORSE}))?(?:\s*perplexity)?"
    r"(?:[\s*_(]*(?:against|than|vs\.?|relative\s+to|compared\s+(?:to|with)|over)"
    r"[\s*_(]+(\S+))?",
    re.IGNORECASE,
)
# A range of which both numbers have the sign of the first.
RANGE = re.compile(
    r"([-+\u2010\u2011\u2013\u2212\uff0d])\s*\d{1,4}(?:[.,]\d+)?[\s%]*"
    r"[-\u2010\u2011\u2013\u2212]\s*$"
)
# Punctuation around a name, and words that replace it: "against the best line", a copied form.
ENDS = ".,;`*"
NO_NAMES = frozenset({"the", "name"})

Language = Literal["expression", "python", "both", "program", "scheme"]


@dataclass(frozen=True)
class Prediction:
    """Prediction of a hypothesis, graded by the machine.

    Args:
        direction: Sign of the change of perplexity.
        versus: Alias of the entry compared with.
        stated: Whether the designer wrote it; otherwise it was incomplete and is assumed.
        forecast: The change as text, ``-2.5 %``, since claims hold no numbers; empty: only its
            direction is stated.
        unknown: Name given instead that is not a measured recipe; empty if there was none.
    """

    direction: Literal["better", "worse"]
    versus: str
    stated: bool = True
    forecast: str = ""
    unknown: str = ""

    @property
    def change(self) -> float | None:
        """The forecast as a relative change of perplexity; None if there is none."""
        return float(self.forecast.removesuffix(" %")) / 100 if self.forecast else None

    @property
    def text(self) -> str:
        """The prediction in words, marked if it is assumed."""
        found = f"{self.forecast} against" if self.forecast else f"{self.direction} than"
        named = f" ({self.unknown} is no measured recipe)" if self.unknown else ""
        return f"{found} {self.versus}{'' if self.stated else ' (assumed)'}{named}"


@dataclass(frozen=True)
class Proposal:
    """A candidate as written by a designer."""

    because: str
    prediction: Prediction | None
    candidate: Candidate
    group: Group
    allocation: str
    repair: str = "none"

    @property
    def recipe(self) -> Recipe:
        """The proposed recipe."""
        return Recipe(self.candidate, self.group, self.allocation, self.repair)


@dataclass(frozen=True)
class Unreadable:
    """An answer without a candidate.

    Args:
        code: ``empty``, ``truncated``, ``refused``, ``too_long``, ``no_metric``, ``bad_metric``,
            ``no_code``, ``bad_code``, ``bad_choice``.
        detail: One line from which a designer can repair the answer.
        because: The reasoning, if it could be read.
    """

    code: str
    detail: str
    because: str = ""


@dataclass(frozen=True)
class AnswerForm:
    """Allowed contents of an answer.

    Args:
        language: Formulas, Python, both, layer programs, or schemes.
        groups: Allowed comparison groups; the first is the default.
        allocations: Allowed families of allocations; the first is the default.
        aliases: Measured entries that a prediction may name; the first one is the default.
        terminals: Values that a formula may use.
        repairs: Allowed repairs; the first is the default.
        ranges: Ranges of the numbers of a repair that may be changed, by repair, then parameter.
        base: Recipe that provides the parts that the answer does not name.
        part: The only part that is read, with the others taken from the base. None: all are read.
        schemes: Families of schemes, if schemes are written instead of metrics.
    """

    language: Language
    groups: Sequence[Group]
    allocations: Sequence[str]
    aliases: Sequence[str] = ()
    terminals: Collection[str] = BASIC_TERMINALS
    repairs: Sequence[str] = ("none",)
    ranges: Ranges = field(default_factory=dict)
    base: Recipe | None = None
    part: str | None = None
    schemes: Sequence[str] = ()


def read_answer(reply: Reply, form: AnswerForm) -> Proposal | Unreadable:
    """Turn an answer into a proposal.

    Accepts what small models wrap around the requested lines (bullets, numbers, bold, backticks,
    any case), or the same fields as one JSON object; the first occurrence of a field counts.
    Thoughts before the answer do not count. An omitted prediction is assumed, so every proposal is
    graded.
    """
    if len(reply.text) > LONGEST_ANSWER:
        detail = f"the answer has more than {LONGEST_ANSWER} characters; write a short one"
        return Unreadable("too_long", detail)
    text = without_thoughts(reply.text)
    blocks = blocks_of(text) if form.language in ("python", "both", "program") else []
    fields = fields_of(without_code(text) if blocks else text)
    because = one_line(fields.get("because", ""))
    if reply.finish_reason == "length":
        return Unreadable("truncated", "the answer was cut off; write a shorter one", because)
    if not text.strip():
        code = "refused" if reply.finish_reason == "error" else "empty"
        return Unreadable(code, "the answer is empty; write the lines asked for")
    found = _recipe(blocks, fields, form)
    if isinstance(found, Unreadable):
        return Unreadable(found.code, one_line(found.detail, LONGEST_DETAIL), because)
    prediction = _prediction(fields.get("expect", ""), form.aliases)
    return Proposal(because, prediction, found.metric, found.group, found.allocation, found.repair)


def cut_reply(reply: Reply) -> Reply:
    """Cut an oversized reply just beyond the length limit, so it is still rejected as too long.

    This bounds what is recorded and passed between tasks, whatever an endpoint sends. Thoughts go
    first: the answer stands behind them.
    """
    if len(reply.text) <= LONGEST_ANSWER:
        return reply
    return replace(reply, text=without_thoughts(reply.text)[: LONGEST_ANSWER + 1])


def read_lesson(reply: Reply) -> str | None:
    """Read the lesson line of a reflection; None if there is none or it may be cut off.

    A lesson that is too long ends with the last word that fits.
    """
    if reply.finish_reason != "stop":
        return None
    fields = fields_of(without_thoughts(reply.text[:LONGEST_ANSWER]))
    lesson = one_line(fields.get("lesson", ""), 4 * LONGEST_LESSON)
    if len(lesson) > LONGEST_LESSON:
        whole_words = lesson[: LONGEST_LESSON + 1].rpartition(" ")[0]
        lesson = whole_words or lesson[:LONGEST_LESSON]
    return lesson if len(lesson) >= 8 else None


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Make text printable on one line: no control characters or surrogates, spaces collapsed."""
    plain = unicodedata.normalize("NFKC", text[: 4 * limit])
    kept = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in plain)
    return " ".join(kept.split())[:limit]


def read_python(source: str) -> Candidate | Unreadable:
    """Check that Python source defines ``score(W, stats, params)``; it is never run here."""
    fault = signature_fault(source, "score", ["W", "stats", "params"])
    return Unreadable("bad_code", fault) if fault else Candidate("python", source.strip() + "\n")


def read_program(source: str) -> Candidate | Unreadable:
    """Check that source defines ``prune_layer`` or ``prune_block``; it is never run here."""
    name = BLOCK if prunes_blocks(source) else LAYER
    fault = signature_fault(source, name, SIGNATURES[name])
    if fault:
        return Unreadable("bad_code", fault)
    try:
        constants = declared_constants(source)
    except UsageError as error:
        return Unreadable("bad_code", str(error))
    return Candidate("program", source.strip() + "\n", constants)


def normalised(candidate: Candidate) -> str:
    """Return text that is equal for candidates that differ only in names, comments and layout."""
    if candidate.kind == "expression":
        return parse(candidate.source).digest
    if candidate.is_code:
        found = without_names(candidate.source)
        # Constants of a program are in its source, but tuning may have changed them since.
        tuned = candidate.kind == "program" and sorted(candidate.params.items())
        return f"{found} {tuned}" if tuned else found
    return candidate.source


def _recipe(blocks: list[str], fields: dict[str, str], form: AnswerForm) -> Recipe | Unreadable:
    base = form.base
    metric: Candidate | Unreadable
    if base is not None and form.part not in (None, "metric"):
        metric = base.metric
    else:
        metric = _candidate(blocks, fields, form)
    group = _choice("group", fields, form, form.groups, base.group if base else None)
    allocation = _allocation(fields, form)
    repair = _repair(fields, form)
    for part in (metric, group, allocation, repair):
        if isinstance(part, Unreadable):
            return part
    if cast(Candidate, metric).kind == "program":
        fault = program_fault(cast(Group, group), cast(str, repair))
        if fault:
            return Unreadable("bad_choice", fault)
    return Recipe(
        cast(Candidate, metric), cast(Group, group), cast(str, allocation), cast(str, repair)
    )


def _candidate(
    blocks: list[str], fields: dict[str, str], form: AnswerForm
) -> Candidate | Unreadable:
    if form.language == "scheme":
        if "scheme" not in fields:
            return Unreadable("no_metric", "the line 'scheme: TEXT' is missing")
        try:
            return read_scheme(fields["scheme"].rstrip("."), form.schemes)
        except UsageError as error:
            return Unreadable("bad_choice", str(error))
    defining = [block for block in blocks if DEFINES.search(block)]
    if defining or (form.language == "both" and "metric" in fields):
        blocks = defining
    if form.language == "program":
        missing = Unreadable("no_code", "write the program in one ```python block")
        return read_program(blocks[0]) if blocks else missing
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


def _choice(
    name: str, fields: dict[str, str], form: AnswerForm, allowed: Sequence[str], now: str | None
) -> str | Unreadable:
    given = name in fields and form.part in (None, name)
    if not given:
        missing = form.part == name
        if missing:
            return Unreadable("bad_choice", f"the line '{name}: ...' is missing")
        return now if now is not None else allowed[0]
    wanted = fields[name].lower().rstrip(".")
    if wanted in allowed:
        return wanted
    return Unreadable("bad_choice", f"{name} is one of: {', '.join(allowed)}")


def _allocation(fields: dict[str, str], form: AnswerForm) -> str | Unreadable:
    """Read any allocation of an allowed family, including parameters or a new formula."""
    wanted = fields.get("allocation", "").lower().rstrip(".")
    if form.part not in (None, "allocation") or "allocation" not in fields:
        now = form.base.allocation if form.base else None
        return _choice("allocation", {}, form, form.allocations, now)
    families = [family(text) for text in form.allocations]
    if family(wanted) not in families:
        return Unreadable("bad_choice", f"allocation is one of: {', '.join(form.allocations)}")
    if len(wanted) > LONGEST_ALLOCATION:
        return Unreadable(
            "bad_choice",
            f"the allocation has {len(wanted)} characters; at most {LONGEST_ALLOCATION}, "
            "write a shorter one",
        )
    try:
        return canonical_allocation(wanted)
    except UsageError as error:
        return Unreadable("bad_choice", str(error))


def _repair(fields: dict[str, str], form: AnswerForm) -> str | Unreadable:
    """Read an allowed repair, possibly with other numbers within bounds."""
    named = fields.get("repair", fields.get("solver"))
    if named is None or form.part not in (None, "repair"):
        now = form.base.repair if form.base else None
        found = _choice("repair", {}, form, form.repairs, now)
        return found if isinstance(found, Unreadable) else canonical_repair(found)
    try:
        return read_repair(named.lower().rstrip("."), form.repairs, form.ranges)
    except UsageError as error:
        return Unreadable("bad_choice", str(error))


def _prediction(text: str, aliases: Sequence[str]) -> Prediction | None:
    """Read a prediction, by default an improvement on the first entry; None without entries.

    Small models name entries that do not exist; the direction they state still counts.
    """
    if not aliases:
        return None
    text = text[:LONGEST_LINE]
    number, match, word = (form.search(text) for form in (FORECAST, EXPECTATION, DIRECTION))
    stated = match is not None and _bare(match[2], aliases) in aliases
    named = match[2] if match is not None and (stated or number is None) else None
    if number is None:
        versus, unknown = _named(named, aliases)
        worse = match is not None and match[1].lower() in WORSE
        return Prediction("worse" if worse else "better", versus, stated=stated, unknown=unknown)
    versus, unknown = _named(number[3] or named, aliases)
    begun = RANGE.search(text[: number.start(2)])
    sign = number[1] or (begun[1] if begun else "")
    minus = sign not in ("", "+")
    if not sign and word is not None:
        minus = word[1] is not None
    forecast = f"{'-' if minus else '+'}{float(number[2].replace(',', '.')):g} %"
    return Prediction("better" if minus else "worse", versus, forecast=forecast, unknown=unknown)


def _named(word: str | None, aliases: Sequence[str]) -> tuple[str, str]:
    """Return the entry to grade a prediction against, and the unknown name if it gave one."""
    name = _bare(word or "", aliases)
    if name in aliases:
        return name, ""
    return aliases[0], "" if name.casefold() in NO_NAMES else one_line(name, LONGEST_NAME)


def _bare(word: str, aliases: Sequence[str]) -> str:
    """Return a name without the punctuation around it; brackets may be a part of it."""
    name = word.strip(ENDS)
    return name if name in aliases else name.strip(f"{ENDS}()_:")
