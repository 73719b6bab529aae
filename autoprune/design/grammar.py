"""GBNF grammar of a whole answer: reasoning, prediction and recipe in five short lines."""

import re
from collections.abc import Sequence

# Enough for a reason; a small model left alone goes on until the limit.
SHORTEST_REASON, LONGEST_REASON = 12, 90
REASON = f"[a-zA-Z0-9 .,%*/()_+-]{{{SHORTEST_REASON},{LONGEST_REASON}}}"


def answer_grammar(
    formula: str, *, aliases: Sequence[str], groups: Sequence[str], allocations: Sequence[str]
) -> str:
    """Grammar of an answer that :func:`autoprune.design.parsing.read_answer` always reads.

    Args:
        formula: GBNF grammar of a formula, with the start rule ``root``.
        aliases: Entries that a prediction may name.
        groups: Comparison groups to choose from.
        allocations: Allocations to choose from.
    """
    rules = re.sub(r"(?<![\w-])root(?![\w-])", "formula", formula.strip())
    answer = [
        'root ::= "because: " reason "\\nexpect: " verdict " than " alias "\\nmetric: " formula'
        ' "\\ngroup: " group "\\nallocation: " allocation "\\n"',
        f"reason ::= {REASON}",
        'verdict ::= "better" | "worse"',
        f"alias ::= {_choice(aliases)}",
        f"group ::= {_choice(groups)}",
        f"allocation ::= {_choice(allocations)}",
    ]
    return "\n".join([*answer, rules]) + "\n"


def lesson_grammar() -> str:
    """Grammar of a one-line lesson."""
    return f'root ::= "lesson: " reason "\\n"\nreason ::= {REASON}\n'


def _choice(words: Sequence[str]) -> str:
    return " | ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
