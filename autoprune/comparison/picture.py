"""Picture of a comparison: sparsity against perplexity, or a ranking at one budget."""

import math
from typing import TYPE_CHECKING, Any

from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.comparison.formatting import figure
from autoprune.comparison.measured import OK
from autoprune.comparison.result import Comparison
from autoprune.comparison.rows import MethodRow
from autoprune.names import UNSTRUCTURED
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
from autoprune.spelling import split_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, INK)
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LONGEST_NAME = 34
LEADS = (1, 1.5, 2, 3, 5, 7)
# A linear axis reads better below this ratio of the highest to the lowest value.
LOG_FROM = 3.0
FAR_ABOVE = 6.0


def pareto_png(result: Comparison) -> bytes:
    """Draw a PNG on white, with N:M budgets as hollow points; rank the methods at a single budget.

    The perplexity axis is logarithmic if the range is wide. Points far above the best of every
    budget would flatten all others, so they are named below the picture instead.
    """
    shown = [row for row in result.rows if _drawable(row)]
    limit = _highest(shown)
    above = [row for row in shown if (row.perplexity or 0.0) > limit]
    shown = [row for row in shown if row not in above]
    if len({row.target for row in shown}) == 1:
        return _ranking_png(result, shown, above)
    shown, others = _on_one_axis(shown)
    with new_canvas(max(4.2, 1.6 + 0.21 * len(result.methods))) as canvas:
        axes = canvas.axes()
        for number, method in enumerate(result.methods):
            _draw_method(axes, number, method, [row for row in shown if row.method == method])
        if result.dense is not None and math.isfinite(result.dense):
            axes.axhline(result.dense, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
            place = ("axes fraction", "data")
            axes.annotate(
                "dense", (0.005, result.dense), xycoords=place, color=MUTED, va="bottom", fontsize=9
            )
        _label_axes(axes, result, shown, above, others)
        return canvas.png()


def _on_one_axis(rows: list[MethodRow]) -> tuple[list[MethodRow], list[MethodRow]]:
    """Budgets that one axis can show: shares if there are any, else one unit; and the others."""
    units = dict.fromkeys(_unit(row) for row in rows)
    shown = "" if "" in units else next(iter(units), "")
    return [r for r in rows if _unit(r) == shown], [r for r in rows if _unit(r) != shown]


def _unit(row: MethodRow) -> str:
    """The unit of a scheme's budget in bytes or speed; empty for a share of zeros or parameters."""
    return row.pattern if row.pattern in Budget.OF_SCHEMES else ""


def _amount(row: MethodRow) -> float:
    """Place of a budget on its axis: percent, or how many times as fast."""
    return row.sparsity if _unit(row) == "faster" else 100 * row.sparsity


def _ranking_png(result: Comparison, shown: list[MethodRow], above: list[MethodRow]) -> bytes:
    """Draw dots with deviations, the best method on top, and the dense model for reference."""
    ranked = sorted(shown, key=lambda row: row.perplexity or math.inf, reverse=True)
    values = [row.perplexity or math.nan for row in ranked]
    with new_canvas(max(2.6, 1.3 + 0.26 * len(ranked))) as canvas:
        axes = canvas.axes(grid=None)
        deviations = [row.deviation or 0.0 for row in ranked]
        axes.errorbar(
            values,
            range(len(ranked)),
            xerr=deviations,
            fmt="o",
            color=BLUE,
            markersize=5,
            capsize=2,
        )
        for place, (row, value) in enumerate(zip(ranked, values, strict=True)):
            right = (value + (row.deviation or 0.0), place)
            axes.annotate(
                figure(value), right, (6, 0), textcoords="offset points", va="center", fontsize=8
            )
        axes.set_yticks(range(len(ranked)), [_name(row.method) for row in ranked])
        if result.dense is not None and math.isfinite(result.dense):
            axes.axvline(result.dense, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
            top = (result.dense, len(ranked) - 0.4)
            axes.annotate("dense", top, (3, 0), textcoords="offset points", color=MUTED, fontsize=9)
        axes.set_xlim(left=0.0)
        axes.set_xlabel(f"sealed perplexity at {ranked[0].target}{_named(above)}")
        return canvas.png()


def _named(above: list[MethodRow]) -> str:
    """Name the points that are too high to be drawn."""
    if not above:
        return ""
    named = "; ".join(f"{r.method} at {r.target}: {figure(r.perplexity)}" for r in above[:2])
    more = f"; {len(above) - 2} more" if len(above) > 2 else ""
    return f"\nbeyond the picture: {named}{more}"


def _name(method: str) -> str:
    """Shorten the method's name if it is long, and append its calibration text."""
    own, text = split_text(method)
    tail = f"@{text}" if text else ""
    return plain(own, max(LONGEST_NAME - len(tail), 2)) + tail


def look_of(number: int) -> dict[str, Any]:
    """Return colour and marker of a method; when colours repeat, the markers differ."""
    lap = number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[(number + lap) % len(MARKERS)],
    }


def _draw_method(axes: "Axes", number: int, method: str, rows: list[MethodRow]) -> None:
    whole = [row for row in rows if row.pattern == UNSTRUCTURED or _unit(row)]
    line = sorted(whole, key=_amount)
    dots = [row for row in rows if row not in whole]
    look = look_of(number)
    name = _name(method)
    if line:
        axes.errorbar(
            [_amount(row) for row in line],
            [row.perplexity or math.nan for row in line],
            yerr=[row.deviation or 0.0 for row in line],
            linestyle=DASHES[number // len(COLOURS) % len(DASHES)],
            markersize=4.5,
            linewidth=1.4,
            capsize=2,
            label=name,
            **look,
        )
    if dots:
        axes.plot(
            [_amount(row) for row in dots],
            [row.perplexity or math.nan for row in dots],
            linestyle="none",
            markersize=7,
            markerfacecolor="none",
            label=None if line else name,
            **look,
        )


def _label_axes(
    axes: "Axes",
    result: Comparison,
    shown: list[MethodRow],
    above: list[MethodRow],
    others: list[MethodRow],
) -> None:
    from matplotlib.ticker import NullFormatter

    values = [row.perplexity or math.nan for row in shown]
    values += [result.dense] if result.dense is not None and math.isfinite(result.dense) else []
    logarithmic = bool(values) and max(values) > LOG_FROM * min(values)
    if logarithmic:
        axes.set_yscale("log")
        low, high = math.log10(min(values)), math.log10(max(values))
        ticks = [
            lead * 10.0**power for power in range(int(low) - 1, int(high) + 2) for lead in LEADS
        ]
        axes.set_yticks([tick for tick in ticks if min(values) * 0.9 <= tick <= max(values) * 1.1])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xticks(sorted({round(_amount(row), 4) for row in shown}))
    axes.set_ylabel("sealed perplexity" + (", logarithmic" if logarithmic else ""))
    budgets = ", ".join(dict.fromkeys(row.target for row in others))
    left_out = f"\nnot on this axis: {budgets}" if budgets else ""
    axes.set_xlabel(f"{_removed(shown)}{left_out}{_named(above)}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def _removed(rows: list[MethodRow]) -> str:
    """What the budgets are: shares of zeros or of parameters, bytes or speed."""
    unit = _unit(rows[0]) if rows else ""
    if unit:
        return "fewer bytes than the dense model, %" if unit == "bytes" else "times as fast"
    smaller = [Shrinking.names(split_text(row.method)[0]) for row in rows]
    zeros, gone = "zeros, % of the prunable weights (hollow: N:M)", "removed, % of the blocks"
    if not any(smaller):
        return zeros
    return gone if all(smaller) else f"{zeros}; schemes: {gone}"


def _highest(rows: list[MethodRow]) -> float:
    best: dict[str, float] = {}
    for row in rows:
        value = row.perplexity or math.inf
        best[row.target] = min(best.get(row.target, math.inf), value)
    return FAR_ABOVE * max(best.values(), default=math.inf)


def _drawable(row: MethodRow) -> bool:
    return row.status == OK and row.perplexity is not None and math.isfinite(row.perplexity)
