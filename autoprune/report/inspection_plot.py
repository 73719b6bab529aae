"""The picture of an inspection: damage by kind and by block, and the shape of every matrix."""

from typing import TYPE_CHECKING

from autoprune.bench.inspection import Inspection
from autoprune.report.canvas import BLUE, ORANGE, Canvas, new_canvas, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches: for the upper panels, and for each line of the map.
PANEL, LINE = 2.8, 0.28


def inspection_png(found: Inspection) -> bytes:
    """Damage by kind and by block on top, the skewness of scores by kind and block below."""
    with new_canvas(_height(found)) as canvas:
        _draw(canvas, found)
        return canvas.png()


def _height(found: Inspection) -> float:
    return PANEL + 1.0 + LINE * len(found.kinds)


def _draw(canvas: Canvas, found: Inspection) -> None:
    kinds = list(found.kinds)
    below = 1.0 + LINE * len(kinds)
    grid = canvas.figure.add_gridspec(2, 2, height_ratios=(PANEL, below), width_ratios=(1, 1))
    places = grid[0, 0], grid[0, 1], grid[1, :]
    first, second, third = (canvas.figure.add_subplot(place) for place in places)
    share = f"{found.sparsity:.0%}"
    by_kind = {plain(kind, 20): nats for kind, nats in found.kinds.items()}
    _bars(first, f"one kind alone at {share}", by_kind, BLUE)
    by_block = {str(block): nats for block, nats in found.blocks.items()}
    _bars(second, f"one block alone at {share}", by_block, ORANGE)
    _map(canvas, third, found, kinds)


def _bars(axes: "Axes", title: str, values: dict[str, float], colour: str) -> None:
    axes.bar(range(len(values)), list(values.values()), color=colour, width=0.7)
    # With many blocks, only every tenth is numbered.
    step = max(1, len(values) // 10)
    places = range(0, len(values), step)
    names = list(values)
    axes.set_xticks(list(places), [names[place] for place in places], fontsize=8)
    if any(len(name) > 3 for name in names):
        axes.tick_params(axis="x", rotation=40)
    axes.set_ylabel("nats per token")
    axes.set_title(title)
    axes.grid(axis="y")


def _map(canvas: Canvas, axes: "Axes", found: Inspection, kinds: list[str]) -> None:
    blocks = sorted({matrix.block for matrix in found.matrices})
    cells: dict[tuple[str, int], list[float]] = {}
    for matrix in found.matrices:
        # Experts of one block share a cell.
        cells.setdefault((matrix.kind, matrix.block), []).append(matrix.score_skew)
    nothing = float("nan")
    rows = [
        [
            sum(values) / len(values) if (values := cells.get((kind, block))) else nothing
            for block in blocks
        ]
        for kind in kinds
    ]
    image = axes.imshow(rows, aspect="auto", cmap="cividis", interpolation="nearest")
    axes.set_yticks(range(len(kinds)), [plain(kind, 20) for kind in kinds], fontsize=8)
    step = max(1, len(blocks) // 15)
    axes.set_xticks(range(0, len(blocks), step), [str(block) for block in blocks[::step]])
    axes.set_xlabel("block")
    axes.set_title("skewness of Wanda's scores")
    canvas.figure.colorbar(image, ax=axes)
