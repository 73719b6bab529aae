"""Sections of the graph that a prompt may show, each with the most important items first."""

import math
import statistics
from collections.abc import Iterable, Mapping

from autoprune.design import detail
from autoprune.design.chat import REFUSALS
from autoprune.design.claims import judged_claims
from autoprune.design.detail import NO_RANGES, PARTS, Detail
from autoprune.design.graph import ELSEWHERE, Graph, GraphNode
from autoprune.design.parts import Ranges, with_defaults
from autoprune.design.program_lines import in_brief

# Neighbours of a recipe shown to an exploit, best last.
NEIGHBOURS = 6
FULL_RUNG = 2
# Fewest intervals for an estimate of the noise.
LEAST_INTERVALS = 3
# Best recipes whose damage to layers is shown.
DAMAGED = 3
Tally = tuple[int, int]


def ranked(graph: Graph) -> list[str]:
    """Return the measured mechanisms, best first; of equal ones, the older first.

    The search's ranking fitness decides, where it is another one than perplexity.
    """
    found: list[tuple[float, int, str]] = []
    for node in graph.of_kind("mechanism"):
        newest = graph.newest_result(node.alias)
        body = newest.body if newest is not None else {}
        if body.get("status") == "measured" and "change" in body:
            fitness = float(body.get("ranked_nats", body["change"]))
            found.append((fitness, len(found), node.alias))
    return [alias for _, _, alias in sorted(found)]


def bar(graph: Graph, reference: str) -> str:
    """Return the best recipe on all windows, which new recipes must beat."""
    for alias in ranked(graph):
        newest = graph.newest_result(alias)
        if newest is not None and newest.body.get("rung") == FULL_RUNG:
            return alias
    return reference


def noise(graph: Graph) -> float | None:
    """Median half-width of 95 % intervals on all windows, % of perplexity; None if too few."""
    found = []
    for node in graph.of_kind("mechanism"):
        newest = graph.newest_result(node.alias)
        body = newest.body if newest is not None else {}
        if body.get("rung") == FULL_RUNG and body.get("interval") and body.get("change"):
            low, high = body["interval"]
            found.append(100 * math.expm1(min(1.0, (high - low) / 2)))
    return statistics.median(found) if len(found) >= LEAST_INTERVALS else None


def waiting(graph: Graph, ranges: Ranges, planned: Iterable[str]) -> list[Detail]:
    """List the recipes that are proposed but not measured, newest first."""
    found = [Detail(text, text, text.partition(" | ")[0]) for text in planned]
    for node in reversed(list(graph.of_kind("mechanism"))):
        if graph.newest_result(node.alias) is None:
            text = f"{node.alias}: {detail.recipe_line(node.body, ranges)}"
            found.append(Detail(text, text, node.alias))
    return found


def formulas(graph: Graph, aliases: Iterable[str], *, known: Iterable[str] = ()) -> list[Detail]:
    """List the formulas without repeats and without those of ``known`` recipes.

    A formula that did well with other budgets is not a bad one.
    """
    above = {str(graph.nodes[alias].body["formula"]) for alias in known}
    texts = (str(graph.nodes[alias].body["formula"]) for alias in aliases)
    return [Detail(text, text, text) for text in dict.fromkeys(texts) if text not in above]


def path(graph: Graph, alias: str, ranges: Ranges) -> list[Detail]:
    """List the steps that led to a recipe through its main parents, last step first.

    Empty for a recipe without parents.
    """
    chain = [alias]
    while (parent := _main_parent(graph, chain[-1])) is not None:
        chain.append(parent)
    if len(chain) == 1:
        return []
    before: list[str | None] = [*chain[1:], None]
    return [detail.step(graph, own, old, ranges) for own, old in zip(chain, before, strict=True)]


def claims(graph: Graph) -> list[Detail]:
    """List reasons and how often they were right, alternating supported and refuted ones."""
    return [detail.claim(graph, found) for found in judged_claims(graph)]


def facts(graph: Graph, *, wide: bool = False) -> list[Detail]:
    """List facts measured in addition to recipes, newest first."""
    lost = (detail.damage(graph, alias) for alias in ranked(graph)[: DAMAGED if wide else 0])
    given, learnt = _stated(graph)
    shown = [found for found in lost if found is not None]
    return [*map(detail.observation, given), *shown, *map(detail.observation, learnt)]


def plain_facts(graph: Graph) -> list[Detail]:
    """List facts that were given, then what recipes do at other sparsities, newest first."""
    given, learnt = _stated(graph)
    elsewhere = [node for node in learnt if node.alias.endswith(ELSEWHERE)]
    return [detail.observation(node) for node in (*given, *elsewhere)]


def _stated(graph: Graph) -> tuple[list[GraphNode], list[GraphNode]]:
    """Facts that were given to the search, and those that it learnt, newest first."""
    given: list[GraphNode] = []
    learnt: list[GraphNode] = []
    for node in graph.of_kind("observation"):
        if {"text", "term"} & node.body.keys():
            origins = graph.targets(node.alias, "derives_from")
            of_task = any(origin.kind == "task" for origin in origins)
            # A try derives from the task, too.
            (given if of_task and "tried" not in node.body else learnt).append(node)
    return given, learnt[::-1]


def failures(graph: Graph) -> list[Detail]:
    """List failures by code, the most frequent first, with the newest example.

    Covers rejections, unreadable answers and rediscoveries, but not an endpoint's refusals, from
    which a designer cannot learn.
    """
    seen: dict[str, tuple[int, str, str]] = {}
    for node in graph.nodes.values():
        found = _failure(graph, node)
        if found is not None and found[0] not in REFUSALS:
            code, example, why = found
            count, _, _ = seen.pop(code, (0, "", ""))
            seen[code] = (count + 1, example, why)
    newest = list(seen.items())[::-1]
    newest.sort(key=lambda item: -item[1][0])
    return [detail.failure(code, *rest) for code, rest in newest]


def lessons(graph: Graph, tallies: Mapping[str, Tally]) -> tuple[list[str], list[Detail]]:
    """Return the aliases and texts of lessons, the most helpful first, then the newest."""
    known = [node for node in graph.of_kind("lesson") if node.alias in tallies][::-1]
    known.sort(key=lambda node: tallies[node.alias][1] - tallies[node.alias][0])
    found = [
        detail.lesson(node, *tallies[node.alias], graph.targets(node.alias, "derives_from"))
        for node in known
    ]
    return [node.alias for node in known], found


def neighbours(graph: Graph, alias: str, part: str, ranges: Ranges = NO_RANGES) -> list[str]:
    """List measured recipes that differ in one part only, with that part and the result."""
    key = PARTS[part]
    own = graph.nodes[alias].body
    found: list[tuple[float, str]] = []
    for node in graph.of_kind("mechanism"):
        alike = all(node.body[other] == own[other] for other in PARTS.values() if other != key)
        newest = graph.newest_result(node.alias) if alike else None
        if newest is not None and newest.body.get("change") is not None:
            change = detail.change_of(graph, node.alias)
            text = str(node.body[key])
            text = with_defaults(text, ranges) if part in ("allocation", "repair") else text
            found.append((float(newest.body["change"]), f"{text}: {change}"))
    best = sorted(found)[:NEIGHBOURS]
    return [line for _, line in reversed(best)]


def _main_parent(graph: Graph, alias: str) -> str | None:
    parents = graph.targets(alias, "derives_from", "combines")
    return next((node.alias for node in parents if node.kind == "mechanism"), None)


def _failure(graph: Graph, node: GraphNode) -> tuple[str, str, str] | None:
    """Return code, example and reason of a failed node; None for others."""
    if node.kind == "observation" and "code" in node.body:
        return str(node.body["code"]), str(node.body["detail"]), ""
    newest = graph.newest_result(node.alias) if node.kind == "mechanism" else None
    if newest is None or newest.body["status"] not in ("rejected", "duplicate"):
        return None
    body, formula = newest.body, str(node.body["formula"])
    if "source" in node.body:
        # A digest, or the word "python", would not say whose idea was lost.
        what = in_brief(str(node.body["source"])) if node.body.get("program") else formula
        formula = ", ".join(filter(None, (node.alias, what, str(node.body.get("because", "")))))
    if body["status"] == "duplicate":
        return "duplicate", f"{formula} is the {body['code']}", ""
    return str(body["code"]), formula, str(body.get("detail", ""))
