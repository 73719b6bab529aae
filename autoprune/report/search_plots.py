"""How the search went: perplexity by candidate, and perplexity against sparsity."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoprune.report import canvas as c
from autoprune.report.canvas import Canvas, number, plain, whole_numbers
from autoprune.report.data import ReportEntry, RunReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Perplexities beyond this multiple of the larger of reference and median are drawn at the edge: one
# broken metric at 1e5 would squeeze everything else into one line.
_FAR = 4.0
_MAX_CODES = 5
_Mark = tuple[float, float]
_OTHER = "other"


def draw_progress(report: RunReport, canvas: Canvas) -> None:
    """Dots for measured candidates, a step line for the best so far, ticks for rejected ones."""
    finite = [e for e in report.candidates if not e.code and _finite(e.perplexity)]
    rejected = [e for e in report.candidates if e.code]
    codes = _top_codes(rejected)
    upper, lower = _two_axes(canvas, len(codes))
    last = max((e.order for e in report.candidates), default=1)
    wanda = report.baseline(report.reference)
    reference = wanda.perplexity if wanda else None
    _dots(upper, finite, _far_edge(reference, finite), last)
    upper.set_yscale("log")
    upper.margins(y=0.08)
    _reference(upper, "dense", report.dense_perplexity)
    _reference(upper, report.reference_name, reference)
    _plain_log(upper)
    upper.set_ylabel("perplexity (log, lower is better)")
    upper.set_xlim(0.3, last + 0.7)
    _rejections(lower, rejected, codes)
    lower.set_xlabel("candidate, in the order of design")
    whole_numbers(lower)


def _dots(axes: "Axes", entries: Sequence[ReportEntry], top: float, last: int) -> None:
    """Draw the measured ones and the best so far."""
    looks: dict[str, dict[str, Any]] = {
        "new best": {"markerfacecolor": c.BLUE, "markeredgecolor": c.BLUE, "markersize": 7},
        "measured": {"markerfacecolor": c.SKY, "markeredgecolor": c.SKY, "markersize": 5},
        "stopped early": {"markerfacecolor": c.PAPER, "markeredgecolor": c.SKY, "markersize": 5},
    }
    best: float | None = None
    steps: list[tuple[float, float]] = []
    marks: dict[tuple[str, str], list[_Mark]] = defaultdict(list)
    for entry in entries:
        value = entry.perplexity or 0.0
        look = "stopped early" if entry.verdict == "stopped" else "measured"
        if entry.measured and (best is None or value < best):
            steps += [(entry.order, value if best is None else best), (entry.order, value)]
            look, best = "new best", value
        shape = "^" if value > top else "o"
        marks[look, shape].append((entry.order, min(value, top)))
    for (look, shape), places in marks.items():
        front = 4 if look == "new best" else 3
        axes.plot(*zip(*places, strict=True), shape, zorder=front, **looks[look])
    if best is not None:
        steps.append((last, best))
        axes.plot(*zip(*steps, strict=True), color=c.BLUE, linewidth=1.6, zorder=2)
    for look, style in looks.items():
        if any(look == used for used, _ in marks):
            axes.plot([], [], "o", label=look, **style)
    if marks:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, handletextpad=0.1, borderpad=0,
            columnspacing=1.0, labelcolor=c.MUTED,
        )  # fmt: skip


def _rejections(axes: "Axes", rejected: Sequence[ReportEntry], codes: Sequence[str]) -> None:
    if not codes:
        return
    orders = [entry.order for entry in rejected]
    rows = [codes.index(entry.code if entry.code in codes else _OTHER) for entry in rejected]
    axes.plot(orders, rows, "|", color=c.RED, markersize=8, markeredgewidth=2)
    axes.set_yticks(range(len(codes)), [plain(code.replace("_", " "), 22) for code in codes])
    axes.set_ylim(len(codes) - 0.4, -0.6)
    axes.tick_params(axis="y", labelsize=8.5)


def _two_axes(canvas: Canvas, rows: int) -> tuple["Axes", "Axes"]:
    """Axes above for perplexity, a strip below for rejections; the same axes twice without any."""
    if rows == 0:
        axes = canvas.axes()
        return axes, axes
    grid = canvas.figure.add_gridspec(2, 1, height_ratios=[12, 0.6 + rows], hspace=0.02)
    upper = canvas.figure.add_subplot(grid[0])
    lower = canvas.figure.add_subplot(grid[1], sharex=upper)
    upper.grid(axis="y")
    upper.tick_params(length=0, labelbottom=False)
    lower.tick_params(length=0)
    lower.spines["left"].set_visible(False)
    return upper, lower


def draw_pareto(report: RunReport, canvas: Canvas) -> None:
    """Perplexity against sparsity; the front as steps."""
    axes = canvas.axes()
    winner, wanda = report.winner, report.baseline(report.reference)
    # Much worse recipes would squeeze the front; the leaderboard has their figures.
    edge = 2.5 * max(y for _, y in points_of(wanda or report.ranked[0]))
    labels: list[tuple[float, float, str, str]] = []
    dots: list[_Mark] = []
    for entry in report.ranked:
        points = [(x, y) for x, y in points_of(entry) if y <= edge]
        if not points:
            continue
        if entry.kind == "candidate" and len(points) == 1 and entry is not winner:
            dots.append(points[0])
            continue
        won = winner is not None and entry.id == winner.id
        colour = c.GREEN if won else c.MUTED if entry.kind == "baseline" else c.SKY
        axes.plot(
            *zip(*points, strict=True),
            "o-" if len(points) > 1 else "o",
            color=colour,
            markersize=6 if won else 4,
            linewidth=2.0 if won else 1.0,
            zorder=4 if won else 2,
        )
        if won or entry.kind == "baseline":
            labels.append((*points[-1], plain(entry.alias, 20), colour))
    if dots:
        axes.plot(*zip(*dots, strict=True), "o", color=c.SKY, markersize=4, zorder=2)
    front = pareto_front([p for e in report.ranked for p in points_of(e)])
    axes.step(*zip(*front, strict=True), where="pre", color=c.BLUE, linewidth=1, alpha=0.5)
    axes.set_yscale("log")
    _reference(axes, "dense", report.dense_perplexity)
    axes.margins(x=0.04, y=0.08)
    _plain_log(axes)
    _spread_labels(axes, labels)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.3g} %")
    measured = sorted({round(x, 3) for e in report.ranked for x, _ in points_of(e)})
    if len(measured) <= 7:
        axes.set_xticks(measured)
    axes.set_xlabel(report.gone if report.removes else "zeros among prunable weights")
    axes.set_ylabel("perplexity (log, lower is better)")


def _spread_labels(axes: "Axes", labels: list[tuple[float, float, str, str]]) -> None:
    """Labels at the ends of lines, pushed apart so that none covers another."""
    low, high = axes.get_ylim()
    gap = (math.log(high) - math.log(low)) * 0.055
    for end in sorted({x for x, _, _, _ in labels}):
        here = sorted((label for label in labels if label[0] == end), key=lambda label: label[1])
        heights = spread([math.log(y) for _, y, _, _ in here], gap)
        for (x, _, text, colour), height in zip(here, heights, strict=True):
            axes.annotate(
                text, (x, math.exp(height)), (8, 0), textcoords="offset points", va="center",
                fontsize=8.5, color=colour, annotation_clip=False,
            )  # fmt: skip


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Rising values, moved as little as possible to be ``gap`` apart."""
    clusters: list[list[float]] = []
    for value in values:
        clusters.append([value])
        while len(clusters) > 1 and _ends(clusters[-2], gap)[1] + gap > _ends(clusters[-1], gap)[0]:
            last = clusters.pop()
            clusters[-1] += last
    return [_ends(cluster, gap)[0] + gap * i for cluster in clusters for i in range(len(cluster))]


def _ends(cluster: Sequence[float], gap: float) -> tuple[float, float]:
    half = gap * (len(cluster) - 1) / 2
    middle = sum(cluster) / len(cluster)
    return middle - half, middle + half


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points (sparsity, perplexity) that no other beats in both, by increasing sparsity."""
    front: list[tuple[float, float]] = []
    for sparsity, perplexity in sorted(points, key=lambda p: (-p[0], p[1])):
        if not front or perplexity < front[-1][1]:
            front.append((sparsity, perplexity))
    return front[::-1]


def points_of(entry: ReportEntry) -> list[tuple[float, float]]:
    """Finite (sparsity, perplexity) points of an entry, by increasing sparsity."""
    own = [(p.sparsity, p.perplexity) for p in entry.curve]
    if entry.sparsity is not None and entry.perplexity is not None:
        own.append((entry.sparsity, entry.perplexity))
    return sorted({(x, y) for x, y in own if math.isfinite(x) and math.isfinite(y)})


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _top_codes(rejected: Sequence[ReportEntry]) -> list[str]:
    counts = Counter(e.code for e in rejected)
    codes = [code for code, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return codes if len(codes) <= _MAX_CODES else [*codes[: _MAX_CODES - 1], _OTHER]


def _far_edge(reference: float | None, entries: Sequence[ReportEntry]) -> float:
    known = sorted(e.perplexity or 0.0 for e in entries)
    middle = known[len(known) // 2] if known else 1.0
    return _FAR * max(reference or 0.0, middle)


def _reference(axes: "Axes", name: str, value: float | None) -> None:
    if value is None or not math.isfinite(value):
        return
    axes.axhline(value, color=c.INK, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    axes.annotate(
        f"{name} {number(value)}",
        (1, value),
        # The dense model is below all but odd runs, so its name goes below its line.
        (0, -11 if name == "dense" else 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color=c.MUTED,
    )


def _plain_log(axes: "Axes") -> None:
    """Ticks such as 20, 50, 100 in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = sorted(axes.get_ylim())
    subs = (1.0, 3.0) if high / max(low, 1e-9) > 100 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
