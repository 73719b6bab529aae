"""Geometry of the reasoning graph on a page: cards, curves, and what a click shows."""

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.plain_text import printable
from autoprune.report.canvas import plain
from autoprune.report.data import ReportNode, RunReport
from autoprune.report.graph_layout import (
    COLUMNS,
    Placed,
    caption,
    entry_of,
    focus_nodes,
    lay_out,
)

_CARD_WIDTH, _CARD_HEIGHT = 138, 44
_STEP_X, _STEP_Y = 166, 62
_LEFT, _TOP = 24, 34
_KINDS = frozenset().union(*(kinds for _, kinds in COLUMNS))
_EDGE_KINDS = frozenset({"supports", "refutes", "improves", "duplicates"})
# Prompts of hundreds of nodes repeat each other and compress well. These limits only bind if an
# answer is huge, and a note names what is cut.
_TEXT_LIMITS = (20_000, 4_000, 800, 160)
_PACKED_LIMIT = 500_000
_MAX_NODES = 500


@dataclass(frozen=True)
class Card:
    """One node as drawn; ``index`` is its place in the packed details."""

    index: int
    x: float
    y: float
    kind: str
    title: str
    label: str
    name: str
    on_path: bool
    failed: bool


@dataclass(frozen=True)
class Curve:
    """One edge as an SVG path; ``kind`` is a safe class name."""

    path: str
    kind: str
    on_path: bool
    ends: str


@dataclass(frozen=True)
class Drawing:
    """A whole graph in pixels."""

    name: str
    title: str
    width: int
    height: int
    columns: tuple[tuple[float, str], ...]
    cards: tuple[Card, ...]
    curves: tuple[Curve, ...]
    card_width: int = _CARD_WIDTH
    card_height: int = _CARD_HEIGHT


def drawings(report: RunReport) -> list[Drawing]:
    """The part around the winner and, where there is more, the whole graph."""
    focus = focus_nodes(report)
    if not focus:
        return []
    if len(focus) == len(report.nodes):
        return [_draw(report, focus, "all", f"All {len(focus)} nodes")]
    title = f"All {len(report.nodes)} nodes"
    if len(report.nodes) > _MAX_NODES:
        title = f"Newest {_MAX_NODES} of {len(report.nodes)} nodes"
    return [
        _draw(report, focus, "focus", "Path to the winner"),
        _draw(report, report.nodes[-_MAX_NODES:], "all", title),
    ]


def packed_details(report: RunReport) -> str:
    """All nodes as base64 of deflated JSON, which no HTML parser can misread.

    Each node is a mapping of ``title``, ``kind``, ``label``, ``body``, ``cost`` and ``links``
    (words, title and index of the other node).
    """
    for limit in _TEXT_LIMITS:
        text = json.dumps(_details(report, limit), ensure_ascii=False, separators=(",", ":"))
        packed = base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9))
        if len(packed) <= _PACKED_LIMIT:
            break
    return packed.decode()


def clipped(text: str, limit: int) -> str:
    """At most ``limit`` characters, with a note on how many are missing."""
    text = printable(text)
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit} more characters are in the JSON record"


def _draw(report: RunReport, nodes: Sequence[ReportNode], name: str, title: str) -> Drawing:
    layout = lay_out(report, nodes)
    index = {node.id: place for place, node in enumerate(report.nodes)}
    cells = {item.node.id: item for item in layout.placed}
    return Drawing(
        name=name,
        title=title,
        width=_LEFT * 2 + _STEP_X * (len(layout.titles) - 1) + _CARD_WIDTH,
        height=_TOP + _STEP_Y * layout.rows,
        columns=tuple(
            (_LEFT + _STEP_X * column + _CARD_WIDTH / 2, title)
            for column, title in enumerate(layout.titles)
        ),
        cards=tuple(_card(report, item, index[item.node.id]) for item in layout.placed),
        curves=tuple(
            Curve(
                _path(cells[edge.target], cells[edge.source]),
                edge.kind if edge.kind in _EDGE_KINDS else "plain",
                cells[edge.target].on_path and cells[edge.source].on_path,
                f"{index[edge.source]} {index[edge.target]}",
            )
            for edge in layout.edges
        ),
    )


def _card(report: RunReport, item: Placed, index: int) -> Card:
    node = item.node
    entry = entry_of(report, node)
    return Card(
        index=index,
        x=_LEFT + _STEP_X * item.column,
        y=_TOP + _STEP_Y * item.row,
        kind=node.kind if node.kind in _KINDS else "other",
        title=plain(caption(node), 13),
        label=plain(node.label, 20),
        name=plain(f"{node.kind} {caption(node)}: {node.label}", 160),
        on_path=item.on_path,
        failed=node.kind in ("result", "observation") and entry is not None and bool(entry.code),
    )


def _path(old: Placed, new: Placed) -> str:
    old_x, new_x = (_LEFT + _STEP_X * p.column for p in (old, new))
    old_y, new_y = (_TOP + _STEP_Y * p.row for p in (old, new))
    if old.row == new.row:
        middle = old_y + _CARD_HEIGHT / 2
        return f"M{old_x + _CARD_WIDTH} {middle}H{new_x}"
    half = _CARD_WIDTH / 2
    start, end = old_y + _CARD_HEIGHT, new_y
    if old.column == new.column and new.row - old.row > 1:
        side = old_x - 14
        return f"M{old_x} {start - 12}C{side} {start} {side} {end} {new_x} {end + 12}"
    return (
        f"M{old_x + half} {start}C{old_x + half} {start + 34} "
        f"{new_x + half} {end - 34} {new_x + half} {end}"
    )


def _details(report: RunReport, limit: int) -> list[dict[str, Any]]:
    index = {node.id: place for place, node in enumerate(report.nodes)}
    links: Mapping[str, list[list[Any]]] = defaultdict(list)
    for edge in report.edges:
        if edge.source in index and edge.target in index:
            old, new = report.nodes[index[edge.target]], report.nodes[index[edge.source]]
            links[edge.source].append([edge.kind, caption(old), index[edge.target]])
            links[edge.target].append([f"← {edge.kind}", caption(new), index[edge.source]])
    return [
        {
            "title": printable(caption(node)),
            "kind": node.kind,
            "label": clipped(node.label, limit),
            "body": _clip_all(node.body, limit),
            "cost": dict(node.cost),
            "links": links[node.id],
        }
        for node in report.nodes
    ]


def _clip_all(value: Any, limit: int) -> Any:
    match value:
        case str():
            return clipped(value, limit)
        case Mapping():
            return {str(key): _clip_all(item, limit) for key, item in value.items()}
        case list() | tuple():
            return [_clip_all(item, limit) for item in value[:200]]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        case bool() | int() | float() | None:
            return value
    return clipped(str(value), limit)
