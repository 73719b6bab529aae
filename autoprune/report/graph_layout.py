"""Placement of the reasoning graph's nodes: a column for each kind of thought, rows in time.

A general layered layout of hundreds of nodes is a hairball. The graph has a rhythm: a hypothesis
becomes a formula, code, a result, a lesson. So each line of thought is one row, read left to
right, and what it grew from is above it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoprune.report.data import ReportEdge, ReportNode, RunReport

COLUMNS: tuple[tuple[str, frozenset[str]], ...] = (
    ("hypothesis", frozenset({"task", "hypothesis"})),
    ("mechanism", frozenset({"mechanism"})),
    ("code", frozenset({"code"})),
    ("result", frozenset({"result", "observation"})),
    ("lesson", frozenset({"critique", "lesson"})),
)
MAX_FOCUS = 40
_ORIGINS = frozenset({"derives_from", "combines"})
# Results of one candidate at several rungs stand side by side.
_STACK = 3


@dataclass(frozen=True)
class Placed:
    """A node with its cell; ``on_path`` if the winner grew from it."""

    node: ReportNode
    column: int
    row: int
    on_path: bool


@dataclass(frozen=True)
class Layout:
    """Cells of all drawn nodes.

    Args:
        placed: Oldest first.
        edges: Between drawn nodes only.
        titles: Column titles, left to right.
        rows: Number of rows.
    """

    placed: tuple[Placed, ...]
    edges: tuple[ReportEdge, ...]
    titles: tuple[str, ...]
    rows: int


def focus_nodes(report: RunReport) -> tuple[ReportNode, ...]:
    """At most 40 nodes: those the winner grew from, then the best of the others."""
    if len(report.nodes) <= MAX_FOCUS:
        return report.nodes
    chosen = _ancestors(report, _winner_nodes(report), MAX_FOCUS)
    owner = {node.id: node.entry for node in report.nodes}
    path = {owner[name] for name in chosen}
    linked = {owner.get(edge.source, "") for edge in report.edges if edge.target in chosen}
    ranks = {entry.id: place for place, entry in enumerate(report.ranked)}
    lines: dict[str, list[str]] = defaultdict(list)
    for node in report.nodes:
        lines[node.entry].append(node.id)
    # Only whole lines of thought: half of one is of no use.
    order = sorted(
        (name for name in lines if name),
        key=lambda name: (name not in path, name not in linked, ranks.get(name, len(ranks))),
    )
    for name in order:
        more = [node for node in lines[name] if node not in chosen]
        if len(chosen) + len(more) <= MAX_FOCUS:
            chosen |= dict.fromkeys(more)
    if not chosen:
        return report.nodes[-MAX_FOCUS:]
    return tuple(node for node in report.nodes if node.id in chosen)


def lay_out(report: RunReport, nodes: Sequence[ReportNode]) -> Layout:
    """Give every node of ``nodes`` a cell."""
    drawn = {node.id for node in nodes}
    edges = tuple(e for e in report.edges if e.source in drawn and e.target in drawn)
    older = _targets(edges)
    path = _ancestors(report, _winner_nodes(report), len(report.nodes))
    cells: dict[str, tuple[int, int, int]] = {}
    depth: dict[tuple[int, int], int] = defaultdict(int)
    rows = 0
    for node in nodes:
        column = _column(node.kind)
        room = _STACK if node.kind == "result" else 1
        near = sorted((cells[t][:2] for t in older[node.id] if t in cells), reverse=True)
        fitting = [row for c, row in near if c < column and depth[column, row] < room]
        row = fitting[0] if fitting else rows
        rows = max(rows, row + 1)
        cells[node.id] = (column, row, depth[column, row])
        depth[column, row] += 1
    starts, titles = _columns(depth)
    placed = tuple(
        Placed(node, starts[column] + stacked, row, node.id in path)
        for node, (column, row, stacked) in ((node, cells[node.id]) for node in nodes)
    )
    return Layout(placed, _telling(nodes, edges, path), titles, rows)


def _columns(depth: Mapping[tuple[int, int], int]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Position of each used column's first cell, and a title for every position."""
    widths: dict[int, int] = defaultdict(int)
    for (column, _), count in depth.items():
        widths[column] = max(widths[column], count)
    starts: dict[int, int] = {}
    titles: list[str] = []
    for column in sorted(column for column, width in widths.items() if width):
        starts[column] = len(titles)
        title = COLUMNS[column][0] if column < len(COLUMNS) else "other"
        titles += [title] + [""] * (widths[column] - 1)
    return starts, tuple(titles)


def _telling(
    nodes: Sequence[ReportNode], edges: Sequence[ReportEdge], path: Mapping[str, None]
) -> tuple[ReportEdge, ...]:
    """Edges worth drawing: to the task only on the winner's path, and no shortcuts past a node."""
    tasks = {node.id for node in nodes if node.kind == "task"}
    older = _targets(edges)
    reached = {
        (s, far) for s, targets in older.items() for t in targets for far in older.get(t, ())
    }
    return tuple(
        edge
        for edge in edges
        if (edge.target not in tasks or edge.source in path)
        and (edge.kind not in _ORIGINS or (edge.source, edge.target) not in reached)
    )


def caption(node: ReportNode) -> str:
    """Short name of a node; its id if it has none."""
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


def _targets(edges: Sequence[ReportEdge]) -> Mapping[str, list[str]]:
    targets: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        targets[edge.source].append(edge.target)
    return targets
