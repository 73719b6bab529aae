"""Pictures of a run, by name, as PNG for MLflow and READMEs and as SVG for the HTML report.

``progress``: perplexity by candidate number, rejections below. ``leaderboard``: bars. ``layers``:
zeros by block. ``pareto``: perplexity against sparsity. ``graph``: the reasoning graph, only as
SVG.
"""

from collections.abc import Callable
from dataclasses import dataclass

from autoprune.errors import UnknownNameError
from autoprune.report.canvas import Canvas, Size, new_canvas
from autoprune.report.data import RunReport
from autoprune.report.entry_plots import (
    draw_layers,
    draw_leaderboard,
    layer_entries,
    leaderboard_height,
)
from autoprune.report.markup import graph_picture
from autoprune.report.search_plots import draw_pareto, draw_progress, points_of


@dataclass(frozen=True)
class _Picture:
    """How to draw one picture; ``draw`` returns its description in words."""

    has_data: Callable[[RunReport], bool]
    draw: Callable[[RunReport, Canvas], str]
    height: Callable[[RunReport], float]
    narrow_height: float | None = None


_PICTURES = {
    "progress": _Picture(
        lambda report: any(e.measured or e.code for e in report.candidates),
        draw_progress,
        lambda report: 4.0,
        3.7,
    ),
    "leaderboard": _Picture(
        lambda report: bool(report.ranked), draw_leaderboard, leaderboard_height
    ),
    "layers": _Picture(
        lambda report: bool(layer_entries(report)), draw_layers, lambda report: 3.6, 3.4
    ),
    "pareto": _Picture(
        lambda report: len({round(s, 3) for e in report.ranked for s, _ in points_of(e)}) > 1,
        draw_pareto,
        lambda report: 4.0,
        3.7,
    ),
}


def names(report: RunReport) -> list[str]:
    """Pictures that this run has data for."""
    return [name for name, picture in _PICTURES.items() if picture.has_data(report)]


def png(report: RunReport, name: str) -> bytes:
    """One picture as PNG, 1150 pixels wide."""
    picture = _get(report, name)
    with new_canvas("wide", picture.height(report)) as canvas:
        picture.draw(report, canvas)
        return canvas.png()


def svg(report: RunReport, name: str, size: Size = "wide") -> str:
    """One picture as an SVG element whose colours are the CSS variables of the report."""
    picture = _get(report, name)
    with new_canvas(size, picture.height(report), picture.narrow_height) as canvas:
        alt = picture.draw(report, canvas)
        return canvas.svg(f"{name}-{size}", alt)


def files(report: RunReport) -> dict[str, bytes]:
    """Every picture that this run has data for, by file name."""
    found = {f"{name}.png": png(report, name) for name in names(report)}
    graph = graph_picture(report)
    return found | {"graph.svg": graph.encode()} if graph else found


def _get(report: RunReport, name: str) -> _Picture:
    known = names(report)
    if name not in known:
        raise UnknownNameError("picture of this run", name, known)
    return _PICTURES[name]
