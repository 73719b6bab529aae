"""What each way to propose brought a search: recipes, duplicates, new bests, and what it cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoprune.search.arms import arm_of

if TYPE_CHECKING:
    from autoprune.report.data import ReportEntry, RunReport

DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Proposals:
    """Counts over the recipes of one operator, and of one model where several are asked.

    Args:
        name: The operator, ``exploit by MODEL`` where several models are asked.
        recipes: All that it proposed.
        duplicates: Recipes that another one equals.
        rejected: Recipes rejected for another reason.
        measured: Recipes measured on all selection windows.
        best: Measured recipes better than the best start and all before them.
        tokens: Of their questions and answers.
        seconds: Of their questions, validation and measurements.
    """

    name: str
    recipes: int = 0
    duplicates: int = 0
    rejected: int = 0
    measured: int = 0
    best: int = 0
    tokens: int = 0
    seconds: float = 0.0


def proposals(report: "RunReport") -> list[Proposals]:
    """One line for each way to propose, in the order of their first recipes."""
    bests = _new_bests(report)
    found: dict[str, list[ReportEntry]] = {}
    for entry in sorted(report.candidates, key=lambda entry: entry.order):
        found.setdefault(arm_of(entry.operator or "unknown", entry.model or None), []).append(entry)
    return [
        Proposals(
            name=name,
            recipes=len(own),
            duplicates=sum(e.code == DUPLICATE for e in own),
            rejected=sum(bool(e.code) and e.code != DUPLICATE for e in own),
            measured=sum(e.measured for e in own),
            best=sum(e.id in bests for e in own),
            tokens=sum(e.tokens for e in own),
            seconds=sum(e.seconds for e in own),
        )
        for name, own in found.items()
    ]


def _new_bests(report: "RunReport") -> set[str]:
    starts = (e.perplexity for e in report.entries if e.kind == "baseline" and e.measured)
    best = min((value for value in starts if value is not None), default=float("inf"))
    found = set()
    for entry in sorted(report.candidates, key=lambda entry: entry.order):
        if entry.measured and entry.perplexity is not None and entry.perplexity < best:
            best = entry.perplexity
            found.add(entry.id)
    return found
