"""The reasoning graph as a still picture."""

from typing import TYPE_CHECKING

from autoprune.report import canvas as c
from autoprune.report.canvas import Canvas, plain
from autoprune.report.data import Entry, RunReport
from autoprune.report.graph_layout import Placed, caption, entry_of, focus_nodes, lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KIND_COLOURS = {
    "task": c.MUTED,
    "hypothesis": c.ORANGE,
    "mechanism": c.SKY,
    "code": c.BLUE,
    "result": c.GREEN,
    "observation": c.GREEN,
    "critique": c.PINK,
    "lesson": c.PINK,
}
_EDGE_STYLES = {"supports": c.GREEN, "improves": c.GREEN, "refutes": c.RED}
_WIDTH, _HEIGHT = 0.84, 0.62
# Letters that fit into all cards of a row together.
_LABEL_ROOM = 114


def graph_height(report: RunReport) -> float:
    """Inches that the picture needs."""
    return 0.5 + 0.52 * max(1, lay_out(report, focus_nodes(report)).rows)


def draw_graph(report: RunReport, canvas: Canvas) -> str:
    """Draw at most 40 nodes around the winner; return a description."""
    layout = lay_out(report, focus_nodes(report))
    canvas.figure.set_layout_engine("none")
    axes = canvas.figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(layout.titles) - 0.5)
    axes.set_ylim(layout.rows - 0.4, -1.0)
    for column, title in enumerate(layout.titles):
        axes.text(column, -0.72, title, ha="center", fontsize=9, color=c.MUTED)
    cells = {item.node.id: item for item in layout.placed}
    for edge in layout.edges:
        _draw_edge(axes, cells[edge.target], cells[edge.source], edge.kind)
    for item in layout.placed:
        _draw_node(axes, item, entry_of(report, item.node), _LABEL_ROOM // len(layout.titles))
    return f"Reasoning graph, {len(layout.placed)} of {len(report.nodes)} nodes."


def _draw_node(axes: "Axes", item: Placed, entry: Entry | None, limit: int) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = KIND_COLOURS.get(item.node.kind, c.MUTED)
    if item.node.kind in ("result", "observation") and entry is not None and entry.code:
        colour = c.RED
    left, top = item.column - _WIDTH / 2, item.row - _HEIGHT / 2
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=c.PAPER,
            edgecolor=colour,
            linewidth=2.2 if item.on_path else 1.0,
            zorder=3,
        )
    )
    inside = left + 0.05
    name = plain(caption(item.node), 12)
    axes.text(inside, item.row - 0.1, name, fontsize=7.5, fontweight="bold", zorder=4)
    axes.text(inside, item.row + 0.18, plain(item.node.label, limit), fontsize=6.5, zorder=4)


def _draw_edge(axes: "Axes", old: Placed, new: Placed, kind: str) -> None:
    from matplotlib.patches import FancyArrowPatch, PathPatch
    from matplotlib.path import Path

    strong = old.on_path and new.on_path
    colour = _EDGE_STYLES.get(kind, c.MUTED)
    width = 1.6 if strong else 0.8
    fade = 1.0 if strong else 0.45
    if old.row == new.row:
        back = old.column + _WIDTH / 2, old.row
        front = new.column - _WIDTH / 2, new.row
        axes.add_patch(
            FancyArrowPatch(
                back,
                front,
                arrowstyle="-|>",
                mutation_scale=7,
                shrinkA=0,
                shrinkB=0,
                color=colour,
                linewidth=width,
                alpha=fade,
                zorder=2,
            )
        )
        return
    start, end = old.row + _HEIGHT / 2, new.row - _HEIGHT / 2
    # Within a column the curve swings out to the left, past the nodes between.
    bow = 0.66 if old.column == new.column and new.row - old.row > 1 else 0.0
    curve = Path(
        [
            (old.column, start),
            (old.column - bow, start + 0.6),
            (new.column - bow, end - 0.6),
            (new.column, end),
        ],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    axes.add_patch(
        PathPatch(curve, fill=False, edgecolor=colour, linewidth=width, alpha=fade, zorder=1)
    )
