"""Pictures of a run as PNG, by name.

``progress``: perplexity by candidate number, rejections below. ``leaderboard``: bars. ``layers``:
zeros by block. ``pareto``: perplexity against sparsity. ``graph``: the reasoning graph.
"""

from autoprune.report.canvas import new_canvas
from autoprune.report.data import RunReport
from autoprune.report.entry_plots import (
    draw_layers,
    draw_leaderboard,
    layer_entries,
    leaderboard_height,
)
from autoprune.report.graph_plot import graph_png
from autoprune.report.search_plots import draw_pareto, draw_progress, points_of


def pictures(report: RunReport) -> dict[str, bytes]:
    """Every picture that this run has data for, as PNG."""
    drawn = []
    if any(e.measured or e.code for e in report.candidates):
        drawn.append(("progress", draw_progress, 4.0))
    if report.ranked:
        drawn.append(("leaderboard", draw_leaderboard, leaderboard_height(report)))
    if layer_entries(report):
        drawn.append(("layers", draw_layers, 3.6))
    if len({round(s, 3) for e in report.ranked for s, _ in points_of(e)}) > 1:
        drawn.append(("pareto", draw_pareto, 4.0))
    found = {}
    for name, draw, height in drawn:
        with new_canvas(height) as canvas:
            draw(report, canvas)
            found[name] = canvas.png()
    return found | ({"graph": graph_png(report)} if report.nodes else {})
