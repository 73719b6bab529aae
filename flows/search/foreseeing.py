"""Describes what a search is expected to take, before it starts, and what it cost."""

from typing import Any

from autoprune.search.estimate import Estimate
from autoprune.search.search import Search
from autoprune.search.spec import SearchSpec
from flows.terminal.console import clock

NOT_COUNTED = "loading, calibration and saving come on top"
# Seconds of work that leave time for a dozen tuned candidates of a small model.
ENOUGH = 1800
TUNING = "none,sparsegpt:select=own,ebft:epochs=2"
LIMITS = {
    "candidates": "the limit of candidates",
    "evaluations": "the limit of evaluations",
    "seconds": "the time",
    "tokens": "the tokens",
    "money": "the money",
}


def foreseen(spec: SearchSpec, found: Estimate, before: float) -> list[str]:
    """Format the estimate of a search as lines for people."""
    answer = f", {found.answer:g} s an answer assumed" if found.answer else ""
    reach = f"about {found.candidates} of at most {spec.budget.candidates}"
    if found.limit == "candidates":
        reach = f"all {found.candidates}"
    limits = [f"{spec.budget.candidates} candidates"]
    if spec.budget.evaluations is not None:
        limits.append(f"{spec.budget.evaluations} evaluations")
    if spec.budget.seconds is not None:
        limits.append(f"{clock(spec.budget.seconds)} of work")
    if spec.budget.tokens is not None:
        limits.append(f"{spec.budget.tokens:,} tokens")
    if spec.budget.money is not None:
        limits.append(f"${spec.budget.money:g}")
    short = []
    if found.limit == "seconds" and found.candidates == 0 and spec.budget.seconds is not None:
        least = found.baselines + found.candidate + found.end
        short = [
            f"{clock(spec.budget.seconds)} of work may be too short for a designed candidate; "
            f"about {clock(least)} would hold one (--minutes)"
        ]
    return [
        *short,
        *_without_tuning(spec),
        f"estimate: baselines {clock(found.baselines)}, a candidate {clock(found.candidate)} "
        f"(dense pass {found.window:.2f} s a window{answer}), the end {clock(found.end)}",
        f"estimate: {reach} candidates fit, {LIMITS[found.limit]} ends the search after about "
        f"{clock(found.total)}; limits: {', '.join(limits)}",
        f"limits count designing, validating and measuring; {NOT_COUNTED} "
        f"({clock(before)} before the start)",
    ]


def _without_tuning(spec: SearchSpec) -> list[str]:
    """Advise block tuning where there is time for it and the usual repairs leave it out."""
    usual = SearchSpec.model_fields["repair_choices"].default
    chosen = spec.schemes or spec.language == "program" or spec.repair_choices != usual
    if chosen or (spec.budget.seconds or 0) < ENOUGH:
        return []
    return [
        "the usual repairs leave out block tuning, by far the best, since it takes minutes a "
        "candidate; `autoprune prune` uses it, so this search may end behind it; to let it in: "
        f"--repairs {TUNING}"
    ]


def paid(search: Search) -> str:
    """Format the cost of the answers; empty without a price."""
    budget, spent = search.spec.budget, search.spent
    if budget.price is None:
        return ""
    each = budget.prices or {"": budget.price}
    at = ", ".join(f"${i:g} and ${o:g}{f' ({name})' * bool(name)}" for name, (i, o) in each.items())
    of = "" if budget.money is None else f" of ${budget.money:g}"
    return (
        f"The designer's {spent.tokens:,} tokens cost ${spent.money:.4f}{of}, at {at} per million "
        "of questions and of answers."
    )


def about_windows(spec: SearchSpec, facts: dict[str, Any]) -> list[str]:
    """Say what to know of the sealed windows before they are measured on; often nothing."""
    usual = SearchSpec.model_fields["sealed_windows"].default
    if facts["fewer_windows"]:
        return [facts["fewer_windows"]]
    if spec.sealed_windows < usual:
        return [
            f"sealed figures are of {spec.sealed_windows} windows, where {usual} are usual: their "
            "intervals are wide; --sealed-windows sets the number"
        ]
    return []
