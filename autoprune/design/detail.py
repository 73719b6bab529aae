"""Text of every kind of node at three levels of detail, fitted to a token budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from autoprune.design.claims import Claim, hypothesis_of, prediction_of, verdict_of
from autoprune.design.graph import Graph, GraphNode
from autoprune.design.parts import Ranges, with_defaults
from autoprune.design.program_lines import in_brief
from autoprune.design.shown import change_in

Level = Literal["full", "line", "alias"]
TokenCounter = Callable[[str], int]
NO_RANGES: Ranges = MappingProxyType({})

# Key of each part in a node on record.
PARTS = {"metric": "formula", "group": "group", "allocation": "allocation", "repair": "solver"}
# Tokens for a bullet and a line break.
BULLET = 2
# Longest excerpt of an error or a failed answer on one line, in characters.
EXAMPLE = 80
# Nats per token below which a term counts as having no effect.
NOTHING = 0.005


@dataclass(frozen=True)
class Detail:
    """One item at three levels of detail: in full, on one line, little more than its name."""

    full: str
    line: str
    alias: str

    def at(self, level: Level) -> str:
        """Return the text at a level."""
        return str(getattr(self, level))


def fit(
    items: Sequence[Detail],
    budget: int,
    count: TokenCounter,
    *,
    most: Level = "full",
    least: Level = "alias",
    overhead: int = BULLET,
    gaps: bool = True,
) -> dict[int, str]:
    """Return the texts of the items that fit, by place, shortening items before dropping them.

    Each item gets one line first, then more detail if tokens are left.
    """
    chosen: dict[int, str] = {}
    lower: tuple[Level, ...] = ("line", "alias") if least == "alias" else ("line",)
    for place, item in enumerate(items):
        for level in lower:
            cost = count(item.at(level)) + overhead
            if cost <= budget:
                chosen[place] = item.at(level)
                budget -= cost
                break
        if place not in chosen and not gaps:
            break
    for place, text in chosen.items() if most == "full" else ():
        more = count(items[place].full) - count(text)
        if more <= budget:
            chosen[place] = items[place].full
            budget -= more
    return chosen


def change_of(graph: Graph, alias: str) -> str:
    """Return the change of perplexity against the reference, or why there is none."""
    newest = graph.newest_result(alias)
    if newest is None:
        return "not measured"
    result = newest.body
    if result["status"] != "measured" or result.get("change") is None:
        return str(result.get("code") or result["status"])
    text = in_percent(float(result["change"]))
    left_out = "masks alone" if result.get("masks_alone") else result.get("left_out")
    return f"{text}, {left_out}" if left_out else text


def in_percent(change: float) -> str:
    """A relative change of perplexity with its sign; one of a thousand times needs no figure."""
    percent = round(100 * change, 1) + 0.0
    if abs(percent) < 1000:
        return f"{percent:+.1f} %"
    return f"{percent:+,.0f} %" if abs(percent) < 100_000 else "far worse"


def against_named(graph: Graph, alias: str) -> str:
    """Return a recipe's change against the one that its forecast names; empty if unknown.

    Empty also where that one is as good as the reference, from which tables count.
    """
    hypothesis = hypothesis_of(graph, alias)
    stated = None if hypothesis is None else hypothesis.body.get("prediction")
    own = change_in(graph, alias)
    versus = None if stated is None else change_in(graph, str(stated["versus"]))
    if stated is None or own is None or versus is None or versus <= -1.0:
        return ""
    if abs(versus) < 0.0005:
        return ""
    return f"{in_percent((1 + own) / (1 + versus) - 1)} against {stated['versus']}, "


def recipe_line(body: Mapping[str, Any], ranges: Ranges) -> str:
    """Return a mechanism's recipe on one line, including numbers at their default."""
    parts = [str(body["formula"])]
    if body.get("program"):
        # Its name is a digest, which says nothing of what it does.
        parts[0] += f", {in_brief(str(body['source']))}"
    if not body.get("scheme"):
        parts += [str(body["group"]), with_defaults(str(body["allocation"]), ranges)]
    if body.get("solver", "none") != "none":
        parts.append(with_defaults(str(body["solver"]), ranges))
    return " | ".join(parts)


def mechanism(graph: Graph, alias: str, ranges: Ranges = NO_RANGES) -> Detail:
    """Describe a recipe and its change; in full with its reason and its code."""
    body, change = graph.nodes[alias].body, change_of(graph, alias)
    if body.get("program"):
        change += _cost_of(graph, alias)
    line = f"{alias}: {recipe_line(body, ranges)}: {change}"
    full = f"{line}, because {body['because']}" if body.get("because") else line
    if "source" in body:
        full += f"\n```python\n{body['source']}```"
    return Detail(full, line, f"{alias}: {change}")


def _cost_of(graph: Graph, alias: str) -> str:
    """Seconds of a program's measurement, and its error on text that it did not see."""
    newest = graph.newest_result(alias)
    found = newest.body if newest is not None and newest.body["status"] == "measured" else {}
    seconds, error = found.get("seconds"), found.get("reconstruction_error")
    text = "" if seconds is None else f", {seconds:.0f} s"
    return text if error is None else f"{text}, error of three blocks {error:.4f}"


def step(graph: Graph, alias: str, before: str | None, ranges: Ranges = NO_RANGES) -> Detail:
    """Describe a step of a path: its changes, prediction and measurement."""
    change = change_of(graph, alias)
    if before is None:
        first = mechanism(graph, alias, ranges)
        return Detail(first.line, first.line, first.alias)
    body, old = graph.nodes[alias].body, graph.nodes[before].body
    new = [f"{name} {body[key]}" for name, key in PARTS.items() if body[key] != old[key]]
    text = ", ".join(new) or "the same recipe"
    forecast = prediction_of(hypothesis_of(graph, alias))
    predicted = f"; expected {forecast}, {verdict_of(graph, alias)}" if forecast else ""
    line = f"{alias}: {text}{predicted}; {change}"
    why = f" because {body['because']}" if body.get("because") else ""
    better = [node.alias for node in graph.improved(alias)]
    gained = f", improves {' and '.join(better)}" if better else ""
    return Detail(f"{alias}: {text}{why}{predicted}; {change}{gained}", line, f"{alias}: {change}")


def claim(graph: Graph, found: Claim) -> Detail:
    """Describe a reason and how often it was right."""
    tally = f"right {found.right}, wrong {found.wrong}"
    line = f"{found.text.rstrip(' .')}: {tally}"
    forecast = prediction_of(hypothesis_of(graph, found.owner))
    measured = f"{against_named(graph, found.owner)}{change_of(graph, found.owner)}"
    last = f"{found.owner} expected {forecast}; {measured}"
    return Detail(f"{line} ({last})", line, f"{found.owner}: {tally}")


def observation(node: GraphNode) -> Detail:
    """Describe a measured fact, such as the effect of adding or dropping a formula's term."""
    body = node.body
    if "term" not in body:
        text = str(body["text"])
        return Detail(text, text, text)
    worth = _worth(float(body["nats"]))
    does, where = ("adding", "to") if body.get("added") else ("dropping", "from")
    text = f"{does} {body['term']} {where} {body['formula']} {worth}"
    sure = "" if body["verdict"] != "unclear" else ", which may be chance"
    short = f"{does} {body['term']} {where} {body['subject']} {worth}"
    return Detail(text + sure, text, short)


def damage(graph: Graph, alias: str) -> Detail | None:
    """Describe where a recipe's metric loses most at equal budgets; None without such data."""
    newest = graph.newest_result(alias)
    errors = newest.body.get("errors", {}) if newest is not None else {}
    if not errors:
        return None
    parts = [f"{name} {100 * share:.1f} %" for name, share in errors.items()]
    text = f"of its output {alias}'s metric loses in {', '.join(parts)}, inputs taken as unrelated"
    most = max(errors, key=lambda name: (errors[name], name))
    return Detail(text, text, f"{alias}'s metric loses most in {most}")


def failure(code: str, count: int, example: str, detail: str) -> Detail:
    """Summarise all failures of one code."""
    alias = f"{code} {count}"
    line = f"{alias}: {shortened(example)}"
    return Detail(f"{line} ({shortened(detail)})" if detail else line, line, alias)


def lesson(node: GraphNode, helped: int, hurt: int, evidence: Sequence[GraphNode]) -> Detail:
    """Describe a lesson and how often candidates prompted with it improved on the best."""
    tally = f"helped {helped}, hurt {hurt}"
    line = f"{node.body['text']} ({tally})"
    known = " against ".join(found.alias for found in evidence)
    full = f"{node.body['text']} ({tally}; {known})" if known else line
    return Detail(full, line, f"{node.alias} ({tally})")


def shortened(text: str) -> str:
    """Cut a long text at a word boundary."""
    if len(text) <= EXAMPLE:
        return text
    return text[:EXAMPLE].rpartition(" ")[0] + " ..."


def _worth(nats: float) -> str:
    if abs(nats) < NOTHING:
        return "changes nothing"
    return f"{'costs' if nats > 0 else 'gains'} {abs(nats):.2f} nats"
