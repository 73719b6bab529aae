"""Verifier ``programmatic``: recomputes every equation of a step; no model is used."""

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path

from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.verify.chains import ANSWER, Chain, numbers_in
from autoprune.verify.verifier import VERIFIERS, StepVerifier

# Score of a step that holds nothing to compute.
UNKNOWN = 0.5
# A clause ends at a letter, and at a sign of punctuation before a space. What else stands next to a
# number, such as / or a decimal point, changes what is computed.
_CLAUSE = re.compile(r"[^\W\d_]+|[.,;:!?](?=\s|$)")
_CALCULATION = re.compile(r"\d+(?: [-+*] \d+)+")
# In "1,200", the comma is part of the number.
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_EQUATION = re.compile(rf"({_CALCULATION.pattern}) = (-?\d+)")


@VERIFIERS.register("programmatic")
class Programmatic(StepVerifier):
    """Recompute ``A + B = C``, and check that A and B are in the question or earlier results.

    The last line, ``Answer: N``, must repeat the last result or, without one, the value of the
    calculation in the question. A step without either scores one half, as does one that holds more
    than whole numbers with ``+``, ``-`` and ``*``.
    """

    NAME = "programmatic"

    @classmethod
    def open(cls, reader: LoadedModel, folder: Path | None) -> "Programmatic":
        """See :class:`StepVerifier`; the reader is not used."""
        return cls()

    def score_chains(self, chains: Sequence[Chain], report: Report = silent) -> list[list[float]]:
        """See :class:`StepVerifier`; 0, 1 or one half."""
        return [_scores(chain) for chain in chains]


def _scores(chain: Chain) -> list[float]:
    known = {*numbers_in(chain.question), *numbers_in(_THOUSANDS.sub("", chain.question))}
    result = _asked(chain.question)
    scores = []
    for step in chain.steps:
        if step.startswith(ANSWER):
            clauses = [clause.strip("= ") for clause in _clauses(step.removeprefix(ANSWER))]
            found = [clause for clause in clauses if re.fullmatch(r"-?\d+", clause)]
            right = None if result is None or len(found) != 1 else int(found[0]) == result
        else:
            right = None
            for clause in _clauses(step):
                if "=" not in clause:
                    continue
                # "x = 12 + 5 = 17" names what it computes.
                inner = clause.strip("= ")
                equation = _EQUATION.fullmatch(inner)
                if equation is None:
                    # A result that is not known cannot be held against the answer.
                    result = result if inner == str(result) else None
                    continue
                result = int(equation[2])
                holds = _value(equation[1]) == result and known.issuperset(numbers_in(equation[1]))
                right = right is not False and holds
                known.add(result)
        scores.append(UNKNOWN if right is None else float(right))
    return scores


def _asked(question: str) -> int | None:
    """Value of the only calculation in a question; None if there is none, or several."""
    found = [clause.strip("= ") for clause in _clauses(question) if _CALCULATION.search(clause)]
    return _value(found[0]) if len(found) == 1 and _CALCULATION.fullmatch(found[0]) else None


def _clauses(text: str) -> list[str]:
    """Parts of a text without letters, also of one that is an entry of a list."""
    return [part.strip(" $") for part in _CLAUSE.split(text.removeprefix("- "))]


def _value(calculation: str) -> int:
    """Value of a calculation: products first, then from left to right."""
    total, sign = 0, 1
    for part in re.findall(r"[-+]|\d+(?: \* \d+)*", calculation):
        if part in "+-":
            sign = 1 if part == "+" else -1
        else:
            total += sign * prod(numbers_in(part))
    return total
