"""GBNF grammar of an answer: reasoning, prediction, and a recipe or one part of it."""

import re
from collections.abc import Sequence

from autoprune.design.formulas import Blank
from autoprune.design.parts import FORMULA, Choices, family
from autoprune.design.repairs import repair_forms
from autoprune.repair import NONE

# Enough for a reason; without a limit, a small model continues until the token limit.
SHORTEST_REASON, LONGEST_REASON = 12, 90
REASON = f"[a-zA-Z0-9 .,%*/()_+-]{{{SHORTEST_REASON},{LONGEST_REASON}}}"
# The rule of each part. Recorded requests hold the grammar, so these names stay.
RULES = {"metric": "metric", "group": "group", "allocation": "allocation", "repair": "solver"}


def answer_grammar(
    formula: str,
    choices: Choices,
    aliases: Sequence[str],
    *,
    part: str | None = None,
    blank: Blank | None = None,
    now: str = "",
) -> str:
    """Grammar of an answer that :func:`autoprune.design.parsing.read_answer` can always read."""
    parts = asked_parts(choices, part)
    repairs = offered_repairs(choices, part, now)
    lines = "".join(f' "\\n{name}: " {RULES[name]}' for name in parts)
    answer = [
        f'root ::= "because: " reason "\\nexpect: " change " % against " alias{lines} "\\n"',
        f"reason ::= {REASON}",
        'change ::= [+-] [0-9] [0-9]? ("." [0-9])?',
        f"alias ::= {_choice(aliases)}",
    ]
    rules = {
        "metric": "metric ::= formula",
        "group": f"group ::= {_choice(without(choices.groups, now))}",
        "allocation": f"allocation ::= {_allocations(choices)}",
        "repair": f"solver ::= {_choice(repairs)}",
    }
    if blank is not None:
        more = "e1" if blank.after else '" * " f1 | " / " f1 | " + " t1 | " - " t1'
        end = f" {_quoted(blank.after)}" if blank.after else ""
        rules["metric"] = f"metric ::= {_quoted(blank.before)} ({more}){end}"
    answer += [rules[name] for name in parts]
    if "allocation" in parts:
        answer += _strengths(choices.words)
    if "metric" in parts:
        answer.append(re.sub(r"(?<![\w-])root(?![\w-])", "formula", formula.strip()))
    return "\n".join(answer) + "\n"


def asked_parts(choices: Choices, part: str | None) -> list[str]:
    """Return the parts that an answer has lines for, omitting those without a choice."""
    offered = {
        # Of formulas there is no end.
        "metric": 2,
        "group": len(choices.groups),
        "allocation": len(choices.allocations),
        "repair": len(choices.all_repairs),
    }
    return [part] if part else [name for name in RULES if offered[name] > 1]


def lesson_grammar() -> str:
    """Grammar of a one-line lesson."""
    return f'root ::= "lesson: " reason "\\n"\nreason ::= {REASON}\n'


def _strengths(words: Sequence[str]) -> list[str]:
    return [
        'strength ::= "0.0" [1-9] | "0.1" [0-9]? | "0.2" [0-9]?',
        'term ::= strength " * " descriptor',
        f"descriptor ::= {_choice(words)}",
    ]


def _allocations(choices: Choices) -> str:
    """Offer each family with its first parameter, and formulas of one to three terms."""
    forms = []
    for name in choices.allocations:
        parameter = next(iter(choices.ranges.get(family(name), {})), None)
        if name == FORMULA:
            forms.append('"formula:" "-"? term ((" + " | " - ") term)? ((" + " | " - ") term)?')
        elif parameter is None or name != family(name):
            forms.append(_quoted(name))
        else:
            forms.append(f'"{name}:{parameter}=" strength')
    return " | ".join(forms)


def offered_repairs(choices: Choices, part: str | None, now: str) -> list[str]:
    """Repairs that an answer may name."""
    repairs = without(repair_forms(choices.all_repairs, choices.ranges), now)
    # Leaving out the repair does not improve it.
    return without(repairs, NONE) if part == "repair" else repairs


def without(words: Sequence[str], now: str) -> list[str]:
    """Return the words without ``now``, or all of them if nothing else is left."""
    return [word for word in words if word != now] or list(words)


def _choice(words: Sequence[str]) -> str:
    return " | ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
