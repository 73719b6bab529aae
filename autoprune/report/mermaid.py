"""The reasoning graph as mermaid text: who was made from whom, by what operator, and how it fared.

The typed graph has several nodes for each recipe; here each recipe is one, so that a screen holds
the whole search.
"""

import re
from collections.abc import Sequence

from autoprune.report.canvas import number, plain
from autoprune.report.data import Entry, RunReport

MAX_NODES = 40
IDEA_WORDS = 6
IDEA_LETTERS = 44
_STYLES = {
    "winner": "fill:#d5f0df,stroke:#1a7f4b,stroke-width:3px,color:#10241a",
    "baseline": "fill:#eceff3,stroke:#7a8594,color:#1c232b",
    "accepted": "fill:#dcebfa,stroke:#2f6fb0,color:#12263a",
    "rejected": "fill:#fbe3e1,stroke:#b3423a,color:#3a1512",
    "stopped": "fill:#fff3d6,stroke:#a87a12,color:#3a2c08",
}


def reasoning_mermaid(report: RunReport, limit: int = MAX_NODES) -> str:
    """A mermaid ``graph LR`` of at most ``limit`` recipes.

    The winner's line comes first, then what was measured best; the rest is counted in one node.

    Args:
        report: The run.
        limit: Recipes to draw.
    """
    chosen = _chosen(report, limit)
    places = {entry.id: f"n{index}" for index, entry in enumerate(chosen)}
    lines = ["graph LR"]
    lines += [f'  {places[e.id]}["{_label(e)}"]:::{_style(e)}' for e in chosen]
    for entry in chosen:
        for parent in entry.parents:
            if parent in places:
                operator = f"|{_quiet(entry.operator)}|" if entry.operator else ""
                lines.append(f"  {places[parent]} -->{operator} {places[entry.id]}")
    left = len(report.entries) - len(chosen)
    if left:
        lines.append(f'  rest["… and {left} more"]:::stopped')
    used = {_style(entry) for entry in chosen} | ({"stopped"} if left else set())
    lines += [f"  classDef {name} {_STYLES[name]}" for name in sorted(used)]
    return "\n".join(lines)


def _chosen(report: RunReport, limit: int) -> Sequence[Entry]:
    known = {entry.id: entry for entry in report.entries}
    line = [] if report.winner is None else [report.winner.id]
    for name in line:
        line += [parent for parent in known[name].parents if parent in known and parent not in line]
    ranked = [entry.id for entry in report.ranked]
    rest = [entry.id for entry in report.entries]
    order = dict.fromkeys([*line, *ranked, *rest])
    return sorted((known[name] for name in list(order)[:limit]), key=lambda e: (e.order, e.id))


def _style(entry: Entry) -> str:
    if entry.verdict == "winner":
        return "winner"
    if entry.verdict in ("rejected", "stopped", "unmeasured"):
        return "rejected" if entry.verdict == "rejected" else "stopped"
    return "baseline" if entry.kind == "baseline" else "accepted"


def _label(entry: Entry) -> str:
    """Name, idea and outcome in three lines."""
    words = plain(entry.reasoning or entry.formula, 400).split()
    idea = " ".join(words[:IDEA_WORDS])
    if len(idea) > IDEA_LETTERS:
        idea = idea[: IDEA_LETTERS - 1]
    if len(words) > IDEA_WORDS or len(idea) == IDEA_LETTERS - 1:
        idea += "…"
    if entry.code:
        outcome = f"rejected: {entry.code}"
    elif entry.perplexity is not None:
        outcome = f"perplexity {number(entry.perplexity)}"
    else:
        outcome = "not measured"
    return "<br/>".join(_quiet(part) for part in (entry.alias, idea, outcome) if part)


def _quiet(text: str) -> str:
    """Text that mermaid takes as text: letters that may mean something become entities."""
    return re.sub(r"[^\w\s.,:!?…+=%/-]", lambda found: f"#{ord(found[0])};", text)
