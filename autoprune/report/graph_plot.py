"""The reasoning graph as a picture: one card for each node, the winner's line marked."""

from autoprune.report import canvas as c
from autoprune.report.canvas import new_canvas, plain
from autoprune.report.data import RunReport
from autoprune.report.graph_layout import Placed, caption, focus_nodes, lay_out

_WIDTH, _HEIGHT = 0.84, 0.66
_COLOURS = {"hypothesis": c.BLUE, "result": c.GREEN, "critique": c.ORANGE, "lesson": c.ORANGE}
_EDGES = {"supports": c.GREEN, "refutes": c.RED, "improves": c.BLUE, "duplicates": c.ORANGE}


def graph_png(report: RunReport) -> bytes:
    """Draw the part of the graph around the winner."""
    layout = lay_out(report, focus_nodes(report))
    rejected = {entry.id for entry in report.entries if entry.code}
    columns = len(layout.titles)
    with new_canvas(0.8 + 0.42 * layout.rows, max(4.0, 1.5 * columns)) as canvas:
        axes = canvas.axes(grid=None)
        axes.set_axis_off()
        axes.set_xlim(-0.1, columns)
        axes.set_ylim(layout.rows, -0.6)
        for column, title in enumerate(layout.titles):
            axes.text(column, -0.25, title, color=c.MUTED, fontsize=8)
        cells = {item.node.id: item for item in layout.placed}
        for edge in layout.edges:
            old, new = cells[edge.target], cells[edge.source]
            strong = old.on_path and new.on_path
            axes.annotate(
                "", _end(new, old), _start(old, new), zorder=1,
                arrowprops={
                    "arrowstyle": "-", "color": _EDGES.get(edge.kind, c.MUTED),
                    "linewidth": 1.6 if strong else 0.7,
                },
            )  # fmt: skip
        for item in layout.placed:
            node = item.node
            colour = c.RED if node.entry in rejected else _COLOURS.get(node.kind, c.MUTED)
            axes.barh(
                item.row + _HEIGHT / 2, _WIDTH, _HEIGHT, item.column, color=c.PAPER,
                edgecolor=colour, linewidth=1.8 if item.on_path else 0.8, zorder=2,
            )  # fmt: skip
            text = f"{plain(caption(node), 16)}\n{plain(node.label, 22)}"
            axes.text(
                item.column + 0.04, item.row + _HEIGHT / 2, text, fontsize=6.5, va="center",
                zorder=3, clip_on=True,
            )  # fmt: skip
        return canvas.png()


def _start(old: Placed, new: Placed) -> tuple[float, float]:
    if old.row == new.row:
        return old.column + _WIDTH, old.row + _HEIGHT / 2
    return old.column + _WIDTH / 2, old.row + _HEIGHT


def _end(new: Placed, old: Placed) -> tuple[float, float]:
    if old.row == new.row:
        return new.column, new.row + _HEIGHT / 2
    return new.column + _WIDTH / 2, new.row
