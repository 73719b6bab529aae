"""The Pareto picture: sparsity against sealed perplexity, one line per method."""

import math

from autoprune.comparison.result import Comparison
from autoprune.comparison.rows import OK, Row
from autoprune.masking.pattern import UNSTRUCTURED
from autoprune.report.canvas import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PINK,
    RED,
    SKY,
    new_canvas,
    plain,
)

COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, INK)
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LONGEST_NAME = 34


def pareto_png(result: Comparison) -> bytes:
    """PNG on white; perplexity on a logarithmic axis, N:M budgets as single hollow points."""
    count = len(result.methods)
    with new_canvas("wide", max(4.2, 1.6 + 0.21 * count)) as canvas:
        axes = canvas.axes()
        axes.set_yscale("log")
        for number, method in enumerate(result.methods):
            rows = [row for row in result.rows if row.method == method and _drawable(row)]
            colour = COLOURS[number % len(COLOURS)]
            dash = DASHES[number // len(COLOURS) % len(DASHES)]
            marker = MARKERS[number % len(MARKERS)]
            line = sorted((r for r in rows if r.pattern == UNSTRUCTURED), key=lambda r: r.sparsity)
            dots = [row for row in rows if row.pattern != UNSTRUCTURED]
            label = plain(method, LONGEST_NAME)
            if line:
                axes.errorbar(
                    [100 * row.sparsity for row in line],
                    [row.perplexity or math.nan for row in line],
                    yerr=[row.deviation or 0.0 for row in line],
                    color=colour,
                    linestyle=dash,
                    marker=marker,
                    markersize=4.5,
                    linewidth=1.4,
                    capsize=2,
                    label=label,
                )
            if dots:
                axes.plot(
                    [100 * row.sparsity for row in dots],
                    [row.perplexity or math.nan for row in dots],
                    color=colour,
                    linestyle="none",
                    marker=marker,
                    markersize=7,
                    markerfacecolor="none",
                    label=None if line else label,
                )
        if result.dense is not None and math.isfinite(result.dense):
            axes.axhline(result.dense, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
            axes.annotate(
                "dense",
                (0.005, result.dense),
                xycoords=("axes fraction", "data"),
                color=MUTED,
                va="bottom",
                fontsize=9,
            )
        axes.set_xlabel("zeros, % of the prunable weights (hollow: N:M)")
        axes.set_ylabel("sealed perplexity, log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_formatter(lambda value, _: _minor(value))
        axes.tick_params(axis="y", which="both", length=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return canvas.png()


def _minor(value: float) -> str:
    leading = value / 10 ** math.floor(math.log10(value))
    return f"{value:,.0f}" if round(leading) in (2, 5) else ""


def _drawable(row: Row) -> bool:
    return row.status == OK and row.perplexity is not None and math.isfinite(row.perplexity)
