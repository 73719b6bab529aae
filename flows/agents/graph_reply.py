"""The reasoning graph as shown to an agent: one unit for all figures, no copies of prompts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Questions and raw answers; the reasons and recipes parsed from them are in other fields.
TALK = frozenset({"prompt", "answer"})
# A loss that is higher by more than this is far worse, whatever the figure.
LARGEST = 50.0


def graph_reply(
    report: Mapping[str, Any], kinds: Sequence[str] | None, newest: int, *, prompts: bool
) -> dict[str, Any]:
    """Return the newest nodes and the edges between them."""
    nodes = [n for n in report.get("nodes", ()) if kinds is None or n["kind"] in kinds]
    fitness = str(report.get("spec", {}).get("fitness", "perplexity"))
    hidden = frozenset() if prompts else TALK
    shown = [
        node
        | {"body": _in_percent({k: v for k, v in node["body"].items() if k not in hidden}, fitness)}
        for node in nodes[-newest:]
    ]
    names = {node["id"] for node in shown}
    edges = [e for e in report.get("edges", ()) if {e["source"], e["target"]} <= names]
    return {"nodes": shown, "edges": edges, "of_nodes": len(nodes)}


def percent(nats: float) -> float:
    """Convert a difference of losses in nats to a change of perplexity in percent."""
    return round(100 * math.expm1(min(nats, LARGEST)), 2)


def _in_percent(body: dict[str, Any], fitness: str) -> dict[str, Any]:
    """Convert a node's body, whose log has relative changes as well as nats.

    A fitness other than perplexity is not a perplexity: its figures stay in nats, under that
    name.
    """
    found = dict(body)
    if "change" in found:
        found["change_percent"] = round(100 * found.pop("change"), 2)
        if "interval" in found:
            found["interval_percent"] = [percent(end) for end in found.pop("interval")]
    ranks = fitness == "perplexity"
    for old, new, sign in (
        ("nats", "change_percent", 1.0),
        ("difference", "difference_percent", 1.0),
        ("gain", "change_to_parent_percent", -1.0),
    ):
        if old in found:
            value = sign * found.pop(old)
            name = new if ranks else new.replace("_percent", "_nats")
            found[name] = percent(value) if ranks else value
    if "interval" in found:
        ends = found.pop("interval")
        found["interval_percent" if ranks else "interval_nats"] = (
            [percent(end) for end in ends] if ranks else ends
        )
    return found
