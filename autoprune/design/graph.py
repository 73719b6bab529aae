"""The reasoning graph (GCoT): an append-only typed DAG of claims and measured facts.

Only machine nodes (task, observation, result) hold numbers, which ``Graph.add`` enforces. The
search computes judging edges (supports, refutes, improves, duplicates) from results; a designer
cannot assert them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from autoprune.digest import digest_json
from autoprune.errors import AutopruneError

NodeKind = Literal[
    "task", "observation", "hypothesis", "mechanism", "code", "result", "critique", "lesson"
]
EdgeKind = Literal[
    "derives_from",
    "implements",
    "tests",
    "supports",
    "refutes",
    "improves",
    "combines",
    "critiques",
    "repairs",
    "duplicates",
]

# Kinds that the search itself writes; the others hold a designer's or a person's words.
MACHINE_KINDS = frozenset({"task", "observation", "result"})
# Wall-clock figures differ from run to run; everything else must not.
TIMING_KEYS = frozenset({"seconds", "cost"})
CREDIT_DECAY = 0.7
# Ends the name of a fact on a recipe at other sparsities.
ELSEWHERE = ".elsewhere"


@dataclass(frozen=True)
class GraphNode:
    """One fact or claim.

    Args:
        alias: Short name, unique in the run, used in prompts: ``H7``, ``M7``, ``R7.1``.
        body: JSON fields, which depend on the kind and never change.
    """

    alias: str
    kind: NodeKind
    body: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The kind and the first twelve digits of the content's digest."""
        content = {key: item for key, item in self.body.items() if key not in TIMING_KEYS}
        return f"{self.kind}-{digest_json([self.alias, self.kind, content])[:12]}"


@dataclass(frozen=True)
class Edge:
    """``source`` relates to ``target``; the target is older."""

    source: str
    kind: EdgeKind
    target: str


@dataclass
class Graph:
    """Nodes and edges in the order in which they were added."""

    _nodes: dict[str, GraphNode] = field(default_factory=dict)
    _edges: list[Edge] = field(default_factory=list)
    _out: dict[str, list[Edge]] = field(default_factory=dict)
    _in: dict[str, list[Edge]] = field(default_factory=dict)
    _order: dict[str, int] = field(default_factory=dict)

    @property
    def nodes(self) -> Mapping[str, GraphNode]:
        """All nodes by alias, oldest first."""
        return MappingProxyType(self._nodes)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, oldest first."""
        return tuple(self._edges)

    def add(self, alias: str, kind: NodeKind, body: Mapping[str, Any]) -> GraphNode:
        """Append a node."""
        if alias in self._nodes:
            raise AutopruneError(f"the graph already has a node {alias}; aliases are unique")
        if kind not in MACHINE_KINDS and (number := _number_in(body)) is not None:
            raise AutopruneError(
                f"{kind} {alias} holds the number {number}; only "
                f"{', '.join(sorted(MACHINE_KINDS))} may: link a measured node instead"
            )
        node = GraphNode(alias, kind, MappingProxyType(dict(body)))
        self._order[alias] = len(self._nodes)
        self._nodes[alias] = node
        return node

    def link(self, source: str, kind: EdgeKind, target: str) -> Edge:
        """Append an edge, unless it exists already."""
        for alias in (source, target):
            if alias not in self._nodes:
                raise AutopruneError(f"the graph has no node {alias}")
        if self._order[target] >= self._order[source]:
            raise AutopruneError(
                f"edge {source} -{kind}-> {target} does not point to an older node"
            )
        edge = Edge(source, kind, target)
        if edge not in self._out.get(source, ()):
            self._edges.append(edge)
            self._out.setdefault(source, []).append(edge)
            self._in.setdefault(target, []).append(edge)
        return edge

    def beginning(self, count: int) -> "Graph":
        """Return the first ``count`` nodes with the edges between them."""
        found = Graph()
        for node in list(self._nodes.values())[:count]:
            found.add(node.alias, node.kind, node.body)
        for edge in self._edges:
            if edge.source in found.nodes and edge.target in found.nodes:
                found.link(edge.source, edge.kind, edge.target)
        return found

    def of_kind(self, kind: NodeKind) -> Iterator[GraphNode]:
        """Nodes of one kind, oldest first."""
        return (node for node in self._nodes.values() if node.kind == kind)

    def targets(self, alias: str, *kinds: EdgeKind) -> list[GraphNode]:
        """Nodes that ``alias`` points to, over edges of the given kinds (all, if none)."""
        return [
            self._nodes[edge.target]
            for edge in self._out.get(alias, ())
            if not kinds or edge.kind in kinds
        ]

    def sources(self, alias: str, *kinds: EdgeKind) -> list[GraphNode]:
        """Nodes that point to ``alias``, over edges of the given kinds (all, if none)."""
        return [
            self._nodes[edge.source]
            for edge in self._in.get(alias, ())
            if not kinds or edge.kind in kinds
        ]

    def judgements(self, alias: str) -> list[Edge]:
        """Edges ``supports`` and ``refutes`` that point to a hypothesis, oldest first."""
        return [e for e in self._in.get(alias, ()) if e.kind in ("supports", "refutes")]

    def results(self, alias: str) -> list[GraphNode]:
        """Results of a mechanism, oldest first, except those on the sealed text."""
        return [n for n in self.sources(alias, "tests") if n.body.get("rung") != "sealed"]

    def newest_result(self, alias: str) -> GraphNode | None:
        """The newest of a mechanism's results; None if there is none."""
        return next(reversed(self.results(alias)), None)

    def children(self, alias: str) -> list[GraphNode]:
        """Mechanisms made from this one."""
        found = self.sources(alias, "derives_from", "combines")
        return [node for node in found if node.kind == "mechanism"]

    def stands(self, edge: Edge) -> bool:
        """Whether the newest comparison of its ends still agrees with the edge.

        Edges are never removed, so an ``improves`` found on few windows remains even if all windows
        refute it later. A mechanism that has been rejected since improves on nothing.
        """
        if edge.kind != "improves":
            return True
        for result in reversed(self.results(edge.source)):
            if result.body.get("status") == "rejected":
                return False
            verdict = result.body.get("against", {}).get(edge.target)
            if verdict is not None:
                return bool(verdict == "better")
        return True

    def improved(self, alias: str) -> list[GraphNode]:
        """Mechanisms that this one improves on, by the newest comparison with each."""
        found = self._out.get(alias, ())
        return [self._nodes[e.target] for e in found if e.kind == "improves" and self.stands(e)]

    def wins(self, alias: str) -> int:
        """Number of others that improve on a mechanism, by their newest comparison with it."""
        return sum(e.kind == "improves" and self.stands(e) for e in self._in.get(alias, ()))

    def ancestors(self, alias: str) -> dict[str, int]:
        """Reasoning ancestors with their distance, over derives_from, combines and repairs."""
        found: dict[str, int] = {}
        frontier = [alias]
        distance = 0
        while frontier:
            distance += 1
            reached = []
            for current in frontier:
                for node in self.targets(current, "derives_from", "combines", "repairs"):
                    if node.alias not in found:
                        found[node.alias] = distance
                        reached.append(node.alias)
            frontier = reached
        return found

    def gains(self) -> dict[str, float]:
        """Gain of each measured mechanism over its best parent, in nats per token."""
        found = {}
        for node in self.of_kind("mechanism"):
            known = [n.body["gain"] for n in self.results(node.alias) if "gain" in n.body]
            if known:
                found[node.alias] = float(known[-1])
        return found

    def credit(self, gains: Mapping[str, float] | None = None) -> dict[str, float]:
        """Value of each node: the best gain it led to, decayed by 0.7 per edge."""
        credit: dict[str, float] = {}
        for alias, gain in (self.gains() if gains is None else gains).items():
            worth = max(0.0, gain)
            credit[alias] = max(credit.get(alias, 0.0), worth)
            for ancestor, distance in self.ancestors(alias).items():
                share = worth * CREDIT_DECAY**distance
                credit[ancestor] = max(credit.get(ancestor, 0.0), share)
        return credit

    @property
    def digest(self) -> str:
        """SHA-256 of everything but timings; equal for a resumed and an uninterrupted run."""
        nodes = [node.id for node in self._nodes.values()]
        return digest_json([nodes, [[e.source, e.kind, e.target] for e in self._edges]])


def _number_in(value: Any) -> float | None:
    """The first number in a JSON value; None if there is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    inner: Sequence[Any] = ()
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = value
    return next((n for item in inner if (n := _number_in(item)) is not None), None)


def worth_of_factors(graph: Graph) -> dict[str, float]:
    """Mean effect of adding each factor to a formula, in nats per token.

    Negative values mean that the loss fell.
    """
    found: dict[str, list[float]] = {}
    for node in graph.of_kind("observation"):
        if node.body.get("added"):
            found.setdefault(str(node.body["term"]), []).append(float(node.body["nats"]))
    return {term: sum(nats) / len(nats) for term, nats in found.items()}


def parent_weights(graph: Graph, ranked: Sequence[str]) -> list[float]:
    """Weight of each mechanism as a parent, by its rank, its credit and its children's success.

    The weight is one over the rank, times up to two for the largest credit (which ancestors of
    gains have), times Laplace's estimate of how often a child improves on it (1/2 if untried).
    """
    credit = graph.credit()
    largest = max((credit.get(alias, 0.0) for alias in ranked), default=0.0) or 1.0
    weights = []
    for rank, alias in enumerate(ranked, 1):
        tried = [child for child in graph.children(alias) if graph.results(child.alias)]
        success = (1 + graph.wins(alias)) / (2 + len(tried))
        weights.append((1 + credit.get(alias, 0.0) / largest) * success / rank)
    return weights
