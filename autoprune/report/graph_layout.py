"""Where the nodes of the reasoning graph go: a column for each kind of thought, rows in time.

A general layered layout of hundreds of nodes is a hairball. The graph has a rhythm (a hypothesis
becomes a formula, code, a result, a lesson), so each line of thought is one row, read left to
right, and what it grew from is above it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoprune.report.data import Edge, Entry, Node, RunReport

COLUMNS: tuple[tuple[str, frozenset[str]], ...] = (
    ("hypothesis", frozenset({"task", "hypothesis"})),
    ("mechanism", frozenset({"mechanism"})),
    ("code", frozenset({"code"})),
    ("result", frozenset({"result", "observation"})),
    ("lesson", frozenset({"critique", "lesson"})),
)
MAX_FOCUS = 40


@dataclass(frozen=True)
class Placed:
    """A node with its cell; ``on_path`` when the winner grew from it."""

    node: Node
    column: int
    row: int
    on_path: bool


@dataclass(frozen=True)
class Layout:
    """Cells of all drawn nodes.

    Args:
        placed: Oldest first.
        edges: Between drawn nodes only.
        titles: Of the columns, left to right.
        rows: Rows in all.
    """

    placed: tuple[Placed, ...]
    edges: tuple[Edge, ...]
    titles: tuple[str, ...]
    rows: int


def focus_nodes(report: RunReport) -> tuple[Node, ...]:
    """At most 40 nodes: the winner, what it grew from, then what grew beside it."""
    if len(report.nodes) <= MAX_FOCUS:
        return report.nodes
    chosen = _ancestors(report, _winner_nodes(report), MAX_FOCUS)
    for edge in report.edges:
        if len(chosen) >= MAX_FOCUS:
            break
        if edge.target in chosen:
            chosen[edge.source] = None
    for node in report.nodes:
        if len(chosen) >= MAX_FOCUS:
            break
        chosen[node.id] = None
    return tuple(node for node in report.nodes if node.id in chosen)


def lay_out(report: RunReport, nodes: Sequence[Node]) -> Layout:
    """Give every node of ``nodes`` a cell.

    Args:
        report: Holds the edges.
        nodes: What to draw, oldest first.
    """
    drawn = {node.id for node in nodes}
    edges = tuple(e for e in report.edges if e.source in drawn and e.target in drawn)
    older: Mapping[str, list[str]] = _targets(edges)
    path = _ancestors(report, _winner_nodes(report), len(report.nodes))
    kinds = sorted({_column(node.kind) for node in nodes})
    compact = {column: place for place, column in enumerate(kinds)}
    cells: dict[str, tuple[int, int]] = {}
    taken: set[tuple[int, int]] = set()
    rows = 0
    for node in nodes:
        column = compact[_column(node.kind)]
        near = [cells[t] for t in older[node.id] if t in cells and cells[t][0] < column]
        free = [row for _, row in sorted(near, reverse=True) if (column, row) not in taken]
        row = free[0] if free else rows
        rows = max(rows, row + 1)
        cells[node.id] = (column, row)
        taken.add((column, row))
    placed = tuple(Placed(node, *cells[node.id], node.id in path) for node in nodes)
    every = [*(title for title, _ in COLUMNS), "other"]
    return Layout(placed, edges, tuple(every[column] for column in kinds), rows)


def entry_of(report: RunReport, node: Node) -> Entry | None:
    """Leaderboard entry that a node belongs to."""
    return next((e for e in report.entries if e.id == node.entry), None)


def caption(node: Node) -> str:
    """Short name of a node, its id when it has none."""
    return node.alias or node.id[:10]


def _column(kind: str) -> int:
    found = (place for place, (_, kinds) in enumerate(COLUMNS) if kind in kinds)
    return next(found, len(COLUMNS))


def _winner_nodes(report: RunReport) -> list[str]:
    winner = report.winner
    if winner is None:
        return []
    return [n.id for n in report.nodes if n.entry == winner.id or n.alias == winner.alias]


def _ancestors(report: RunReport, start: Sequence[str], limit: int) -> dict[str, None]:
    """Ids reached along edges to older nodes, nearest first; a dict, because it keeps order."""
    older = _targets(report.edges)
    known = {node.id for node in report.nodes}
    reached: dict[str, None] = {}
    queue = list(start)
    for name in queue:
        if len(reached) >= limit:
            break
        if name in known and name not in reached:
            reached[name] = None
            queue += older[name]
    return reached


def _targets(edges: Sequence[Edge]) -> Mapping[str, list[str]]:
    targets: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        targets[edge.source].append(edge.target)
    return targets
