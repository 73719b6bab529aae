"""What was found: the leaders against the baselines, and where their zeros are."""

from autoprune.report import canvas as c
from autoprune.report.canvas import Canvas, number, percent, plain, whole_numbers
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.layers import by_block, overall

_MAX_BARS = 12


def leaderboard_height(report: RunReport) -> float:
    """Height in inches that the bars need."""
    return 0.9 + 0.3 * len(_shortened(report))


def draw_leaderboard(report: RunReport, canvas: Canvas) -> None:
    """Bars from zero; the winner green, candidates blue, baselines grey."""
    axes = canvas.axes(grid="x")
    shown = _shortened(report)
    winner, wanda = report.winner, report.baseline(report.reference)
    reference = wanda.perplexity if wanda and wanda.perplexity else None
    limit = 1.6 * reference if reference else max(e.perplexity or 0 for e in shown)
    for row, entry in enumerate(shown):
        value = entry.perplexity or 0.0
        if winner and entry.id == winner.id:
            colour = c.GREEN
        else:
            colour = c.MUTED if entry.kind == "baseline" else c.BLUE
        axes.barh(row, min(value, limit), height=0.62, color=colour)
        text = f"{number(value)} →" if value > limit else number(value)
        strong = "bold" if colour == c.GREEN else "normal"
        axes.annotate(
            text,
            (min(value, limit), row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight=strong,
        )
    labels = [plain(e.alias, 34) for e in shown]
    axes.set_yticks(range(len(shown)), labels, color=c.INK)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, min(limit, max(e.perplexity or 0 for e in shown)) * 1.16)
    if report.dense_perplexity:
        axes.axvline(report.dense_perplexity, color=c.INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            f"dense {number(report.dense_perplexity)}",
            (report.dense_perplexity, 1),
            (4, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8.5,
            color=c.MUTED,
        )
    axes.set_xlabel("perplexity on the selection split, lower is better")
    axes.spines["left"].set_visible(False)


def draw_layers(report: RunReport, canvas: Canvas) -> None:
    """Bars from the target to each block's share; other budgets as step lines."""
    axes = canvas.axes()
    first, *others = layer_entries(report)
    # Only zeros are counted by layer, and they have a target.
    wanted = report.sparsity or 0.0
    blocks = by_block(first.layer_sparsity, report.layer_numel)
    for item in blocks:
        axes.bar(
            item.block, item.share - wanted, bottom=wanted, width=0.74,
            color=c.GREEN, alpha=0.85, label=_budget(first) if item is blocks[0] else None,
        )  # fmt: skip
    for entry, (colour, dash) in zip(others, ((c.BLUE, "-"), (c.ORANGE, "--")), strict=False):
        line = by_block(entry.layer_sparsity, report.layer_numel)
        edges = [line[0].block - 0.5, *(b.block + 0.5 for b in line)]
        axes.stairs(
            [b.share for b in line], edges, baseline=None, color=colour, linestyle=dash,
            linewidth=1.5, label=_budget(entry),
        )  # fmt: skip
    target = f"uniform = target {percent(wanted)}"
    axes.axhline(wanted, color=c.INK, linestyle=(0, (4, 3)), linewidth=1, label=target)
    axes.margins(y=0.12)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.3g} %")
    axes.set_ylabel("zeros in the block")
    axes.set_xlabel("block, first to last")
    whole_numbers(axes)
    axes.set_xlim(blocks[0].block - 0.7, blocks[-1].block + 0.7)
    shares = [b.share for b in blocks]
    mean = overall(first.layer_sparsity, report.layer_numel)
    text = (
        f"{plain(first.alias, 20)}: min {percent(min(shares))}, max {percent(max(shares))}, "
        f"mean {percent(mean)}"
    )
    axes.set_title(text, fontsize=9.5, fontweight="normal", color=c.INK)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] != _budget(first))
    canvas.figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=1 if max(map(len, labels)) > 36 else 2,
        labelcolor=c.MUTED,
    )


def layer_entries(report: RunReport) -> list[ReportEntry]:
    """The winner, else the best entry, then the best entries of two other kinds of budgets."""
    having = [e for e in report.ranked if e.layer_sparsity]
    winner = report.winner
    if winner in having:
        having.remove(winner)
        having.insert(0, winner)
    chosen: dict[str, ReportEntry] = {}
    for entry in having:
        family = entry.allocation.partition(":")[0]
        if family != "uniform" or not chosen:
            chosen.setdefault(family, entry)
    return list(chosen.values())[:3]


def _budget(entry: ReportEntry) -> str:
    return f"{plain(entry.alias, 16)}: {plain(entry.allocation, 44)}"


def _shortened(report: RunReport) -> list[ReportEntry]:
    """The best entries and every baseline that fits, in order."""
    ranked = list(report.ranked)
    baselines = [e for e in ranked if e.kind == "baseline"][: _MAX_BARS // 2]
    others = [e for e in ranked if e.kind == "candidate"][: _MAX_BARS - len(baselines)]
    chosen = {e.id for e in (*baselines, *others)}
    return [e for e in ranked if e.id in chosen]
