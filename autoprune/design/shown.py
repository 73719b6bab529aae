"""The graph as shown to a designer: whole, as it was at the start, or with shuffled results."""

import math
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

from autoprune.design.claims import hypothesis_of, verdict_of
from autoprune.design.graph import ELSEWHERE, Graph, GraphNode

# Edges that follow from measured results.
JUDGING = frozenset({"supports", "refutes", "improves"})


def dealt(
    aliases: Sequence[str], seed: int, generations: Mapping[str, int] | None = None
) -> dict[str, str]:
    """Give each recipe another one's results, drawn by a seed, so that none shown ever moves.

    A recipe gets those of its own generation or an earlier one. Were a shown result to move when
    more is measured, a reader of two prompts could tell which recipe it belongs to.
    """
    known = generations or {}
    order = sorted(aliases, key=lambda alias: known.get(alias, 0))
    given: dict[str, str] = {}
    for alias in order:
        generation = known.get(alias, 0)
        pool = [other for other in order if known.get(other, 0) <= generation and other != alias]
        rng = Random(f"dealt {seed} {alias}")
        rng.shuffle(pool)
        used = set(given.values())
        mates = [mate for mate in given if known.get(mate, 0) == generation]
        if unused := [other for other in pool if other not in used]:
            given[alias] = unused[0]
        elif mates:
            # Only its own are left, which another one of its generation takes.
            mate = rng.choice(mates)
            given[alias], given[mate] = given[mate], alias
        else:
            given[alias] = pool[0] if pool else alias
    return {alias: given[alias] for alias in aliases}


def change_in(graph: Graph, alias: str) -> float | None:
    """Return the newest relative change of perplexity of a measured mechanism; None for others."""
    newest = graph.newest_result(alias) if alias in graph.nodes else None
    if newest is None or newest.body.get("status") != "measured":
        return None
    change = newest.body.get("change")
    return None if change is None else float(change)


def without(graph: Graph, aliases: Collection[str]) -> Graph:
    """Return the graph without some mechanisms and everything learnt from them."""
    gone = set(aliases)
    for node in graph.of_kind("mechanism"):
        if any(n.alias in gone for n in graph.targets(node.alias, "duplicates")):
            gone.add(node.alias)

    def stays(node: GraphNode) -> bool:
        if node.alias.partition(".")[0] in gone or node.body.get("subject") in gone:
            return False
        # Forecasts against one of them, and the certainty of a choice between them.
        compared = {node.body.get("versus"), node.body.get("prediction", {}).get("versus")}
        if compared & gone:
            return False
        learnt = node.kind == "lesson" or "wording" in node.body
        return not (learnt and any(n.alias in gone for n in graph.targets(node.alias)))

    found = Graph()
    for node in graph.nodes.values():
        if stays(node):
            found.add(node.alias, node.kind, node.body)
    for edge in graph.edges:
        if edge.source in found.nodes and edge.target in found.nodes:
            found.link(edge.source, edge.kind, edge.target)
    return found


def permuted(
    graph: Graph,
    seed: int,
    fixed: Collection[str] = (),
    generations: Mapping[str, int] | None = None,
) -> Graph:
    """Return a placebo: the same graph with its results shuffled among measured recipes.

    Each recipe gets all results of another one, and everything that follows from results
    (judgements, improvements, worth of terms) is recomputed. Recipes, reasons, origins and
    rejections stay the same.
    """
    measured = [
        node.alias
        for node in graph.of_kind("mechanism")
        if node.alias not in fixed and change_in(graph, node.alias) is not None
    ]
    given = dealt(measured, seed, generations)
    holder = {owner: alias for alias, owner in given.items()}
    moved = {n.alias for alias in measured for n in graph.sources(alias, "tests")}
    # Facts on figures that no recipe has now.
    moved |= {f"{alias}{ELSEWHERE}" for alias in measured if alias not in holder}
    # The error of what was tried would tell whose error a recipe is shown with.
    moved |= {node.alias for node in graph.of_kind("observation") if "tried" in node.body}
    # What the winner of a finished search is compared with: true of the figures that it had.
    moved |= {node.alias for node in graph.of_kind("observation") if "versus" in node.body}
    found = Graph()
    for node in graph.nodes.values():
        if node.alias not in moved:
            found.add(node.alias, node.kind, _renamed(node, holder))
    for alias, owner in given.items():
        for result in graph.results(owner):
            left_out = ("against", "reconstruction_error")
            body = {key: value for key, value in result.body.items() if key not in left_out}
            found.add(f"{alias}.{result.alias.rpartition('.')[2]}", "result", body)
    for edge in graph.edges:
        ends = (edge.source, edge.target)
        if edge.kind not in JUDGING and not moved & set(ends):
            found.link(edge.source, edge.kind, edge.target)
    for alias in measured:
        for result in [n for n in found.nodes.values() if n.alias.rpartition(".")[0] == alias]:
            if result.kind == "result":
                found.link(result.alias, "tests", alias)
    return _judged_again(graph, found)


def _renamed(node: GraphNode, holder: Mapping[str, str]) -> dict[str, Any]:
    """Return the node's body; facts on a recipe's figures name the recipe that now has them."""
    body = dict(node.body)
    owner = node.alias.removesuffix(ELSEWHERE)
    if owner != node.alias and owner in holder:
        body["text"] = f"{holder[owner]}:{str(body['text']).partition(':')[2]}"
    return body


def _judged_again(graph: Graph, found: Graph) -> Graph:
    """Add the judgements that follow from the second graph's own results."""
    for node in graph.of_kind("mechanism"):
        alias = node.alias
        hypothesis, newest = hypothesis_of(found, alias), found.newest_result(alias)
        own = next((n.alias for n in found.targets(alias, "duplicates")), alias)
        change = change_in(found, own)
        if newest is None or change is None:
            continue
        prediction = hypothesis.body.get("prediction") if hypothesis is not None else None
        if prediction is not None and verdict_of(graph, alias) in ("right", "wrong"):
            versus = change_in(found, str(prediction["versus"]))
            if versus is not None and hypothesis is not None:
                better = change < versus
                right = better == (prediction["direction"] == "better") and change != versus
                found.link(newest.alias, "supports" if right else "refutes", hypothesis.alias)
        for parent in found.targets(alias, "derives_from", "combines"):
            before = change_in(found, parent.alias)
            gained = own == alias and before is not None and change < before
            if parent.kind == "mechanism" and gained:
                found.link(alias, "improves", parent.alias)
    return _terms_again(found)


def _terms_again(found: Graph) -> Graph:
    """Return a copy whose facts on terms agree with its results."""
    made = Graph()
    for node in found.nodes.values():
        body = dict(node.body)
        if node.kind == "observation" and "term" in body and body["verdict"] != "same":
            own = change_in(found, node.alias.rpartition(".")[0])
            subject = change_in(found, str(body["subject"]))
            if own is not None and subject is not None:
                body["nats"] = math.log1p(own) - math.log1p(subject)
                body["text"] = f"{body['formula']} {'with' if body['added'] else 'without'} a term"
        made.add(node.alias, node.kind, body)
    for edge in found.edges:
        made.link(edge.source, edge.kind, edge.target)
    return made
