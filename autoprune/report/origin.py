"""The origin of a search's winner: who wrote it, what was given, what to compare it with."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoprune.allocation import ALLOCATORS
from autoprune.design.kinds import SILENT
from autoprune.design.parts import family
from autoprune.repair import REPAIRS
from autoprune.report.canvas import percent, plain
from autoprune.search.arms import DESIGN_OPERATORS, PROPOSE
from autoprune.search.spec import SearchSpec

if TYPE_CHECKING:
    from autoprune.report.data import ReportEntry, RunReport
    from autoprune.report.evidence import WinnerChange

LANGUAGE_MODEL = "the language model"
BY_HAND = "hand"
BEST_START, REFERENCE = "best start", "reference"
GIVEN = "an earlier search or a person, and given to this one"
_PARTS = ("group", "allocation", "solver")
# Who writes a recipe if no language model is asked, by operator.
AUTHORS = {
    "sweep": "the sweep",
    "tune": "tuning",
    "extend": "an added factor",
    "mutate": "mutation",
    "recombine": "recombination",
    "ablate": "ablation",
    "spare": "mutation",
    "random": "a random draw",
    "compose": "two repairs joined",
    "sample": "Optuna",
    "grid": "the catalogue",
}
# Only a designer writes whole recipes; records of earlier versions call that a list.
WRITTEN = (*DESIGN_OPERATORS, PROPOSE, "list")


def author(report: "RunReport", entry: "ReportEntry") -> str:
    """Who wrote a recipe: ``hand``, ``the language model``, or the move that made it."""
    if entry.kind == "baseline":
        return GIVEN if was_given(report, entry) else BY_HAND
    if entry.operator in WRITTEN and asks_model(report):
        return LANGUAGE_MODEL
    return AUTHORS.get(entry.operator, entry.operator or "an unknown move")


def was_given(report: "RunReport", entry: "ReportEntry") -> bool:
    """Whether a start was given to this search, such as an earlier winner."""
    made = (entry.source, entry.group, entry.allocation, entry.solver)
    return entry.kind == "baseline" and any(
        made
        == (start.get("source") or start["metric"].removeprefix("expr:"), *map(start.get, _PARTS))
        for start in report.spec.get("starts", ())
    )


def asks_model(report: "RunReport") -> bool:
    """Whether a language model was asked for recipes."""
    return str(report.spec.get("designer", {}).get("kind", "")) not in SILENT


def authorship(report: "RunReport") -> str:
    """Say who wrote the winner, what was given, and what the language model wrote, on one line.

    Empty if nothing was measured.
    """
    winner = report.winner
    if winner is None:
        return ""
    wrote = author(report, winner)
    name = plain(winner.alias, 40)
    parts = [f"{name}: written by {wrote}"]
    if wrote == BY_HAND:
        parts = [f"{name}: a start, made by hand"]
    elif wrote == GIVEN:
        parts = [f"{name}: a start, written by {GIVEN}"]
    elif found := given_parts(report, winner):
        parts.append(", ".join(found))
    parts.append(_share(report))
    return "; ".join(parts)


def given(report: "RunReport") -> dict[str, list[str]]:
    """What was given to the search rather than found by it: named repairs, and starts."""
    usual = SearchSpec.model_fields["repair_choices"].default
    repairs = list(report.spec.get("solvers", usual))
    return {
        "repairs": [] if repairs == list(usual) else repairs,
        "starts": [entry.alias for entry in report.entries if entry.kind == "baseline"],
    }


def given_parts(report: "RunReport", entry: "ReportEntry") -> list[str]:
    """Parts of a recipe that were given: named on the command line, or taken from a start."""
    starts = [other for other in report.entries if other.kind == "baseline"]
    found = []
    # Where the repair chooses what to prune, the metric plays no part in the recipe.
    if entry.metric_counts and entry.formula in {other.formula for other in starts}:
        found.append("metric of a start")
    if entry.allocation != "uniform" and entry.allocation in {s.allocation for s in starts}:
        found.append("budgets of a start")
    repairs = {_kin(text) for text in given(report)["repairs"]}
    if entry.solver not in ("", "none"):
        if _kin(entry.solver) in repairs:
            found.append("repair given")
        elif entry.solver in {other.solver for other in starts}:
            found.append("repair of a start")
    return found


def best_start(report: "RunReport") -> "ReportEntry | None":
    """The best measured start; None if the winner is a start itself, or no start was measured."""
    winner = report.winner
    if winner is None or winner.kind == "baseline":
        return None
    return next((entry for entry in report.ranked if entry.kind == "baseline"), None)


def change_to_start(report: "RunReport") -> float | None:
    """Relative change of perplexity from the best start to the winner, on the selection split."""
    winner, start = report.winner, best_start(report)
    if winner is None or start is None or winner.perplexity is None or not start.perplexity:
        return None
    return winner.perplexity / start.perplexity - 1.0


def against_start(report: "RunReport") -> str:
    """How the winner compares to the best start, in words; empty without one."""
    change, start = change_to_start(report), best_start(report)
    if change is None or start is None or report.winner is None:
        return ""
    name = plain(report.winner.alias, 40)
    kind = "best start, which was given," if was_given(report, start) else "best start by hand,"
    text = f"{percent(change, sign=True)} perplexity on the selection split"
    text += interval_of(contrast(report, BEST_START, "selection"))
    if (found := contrast(report, BEST_START, "sealed")) is not None:
        text += f" and {percent(found.change, sign=True)} on the sealed one{interval_of(found)}"
    return f"Against the {kind} {plain(start.alias, 60)}, {name} has {text}."


def contrast(report: "RunReport", role: str, split: str) -> "WinnerChange | None":
    """The winner window by window against another recipe, on one split; None in old records."""
    known = (c for c in report.contrasts if c.role == role and c.split == split)
    return next(known, None)


def interval_of(found: "WinnerChange | None") -> str:
    """The interval of a contrast, to put after its change; empty if there is none."""
    return f" (95 % {bounds(*found.interval)})" if found is not None and found.interval else ""


def bounds(low: float, high: float) -> str:
    """Ends of an interval: ``−30 % to −10 %``."""
    return f"{percent(low, sign=True)} to {percent(high, sign=True)}"


def citations(recipe: Mapping[str, Any]) -> list[str]:
    """Papers behind a recipe's repair and allocation, from the sources the classes name."""
    found: list[str] = []
    for text, known in ((recipe["allocation"], ALLOCATORS), (recipe["solver"], REPAIRS)):
        # Chains join with +, and walk: wraps a repair; each part has its own source.
        for name in (word.partition(":")[0] for part in text.split("+") for word in _names(part)):
            source = known.get(name).SOURCE if name in known else ""
            if "arXiv" in source:
                found.append(f"{name}: {source}")
    return list(dict.fromkeys(found))


def _names(part: str) -> list[str]:
    head, colon, rest = part.partition(":")
    return [head, rest] if colon and "=" not in rest.partition(":")[0] else [head]


def _kin(repair: str) -> tuple[str, ...]:
    """The repairs of a chain without their parameters, which tuning may have changed."""
    return tuple(family(part) for part in repair.split("+"))


def _share(report: "RunReport") -> str:
    """How many of the recipes the language model wrote, and how many of those were measured."""
    if not asks_model(report):
        return "no language model was asked"
    candidates = report.candidates
    wrote = [entry for entry in candidates if author(report, entry) == LANGUAGE_MODEL]
    measured = sum(entry.measured for entry in wrote)
    recipes = "recipe" if len(candidates) == 1 else "recipes"
    return (
        f"{LANGUAGE_MODEL} wrote {len(wrote)} of {len(candidates)} {recipes}, {measured} measured"
    )
