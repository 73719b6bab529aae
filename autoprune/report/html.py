"""The report as one HTML file that needs nothing else: no network, no library, no other file.

Formulas, reasoning and error texts come from a language model and count as hostile. There are three
defences: Jinja escapes every value; the details of the graph travel as base64 and reach the page
only through ``textContent``; a content security policy allows no script but ours, by its hash.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from autoprune.bench.inspection import Inspection
from autoprune.metrics.language import ExpressionError, parse
from autoprune.report import plots, sentences
from autoprune.report.benefit import megabytes, speed_in_short
from autoprune.report.canvas import number, percent, plain, short_model
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.graph_svg import clipped, drawings, packed_details
from autoprune.report.inspection_plot import inspection_svg
from autoprune.report.layers import by_block
from autoprune.report.leaderboard import in_order, shown_left_out, shown_verdict
from autoprune.report.markup import asset, template
from autoprune.report.origin import (
    BEST_START,
    REFERENCE,
    author,
    authorship,
    best_start,
    bounds,
    change_to_start,
    contrast,
)
from autoprune.report.proposals import proposals
from autoprune.report.sealed import looks
from autoprune.storage import write_text

# Longest text of one entry, and of one field of all entries together. With these, a search of
# hundreds of candidates still fits a phone.
_TEXT_LIMIT = 6_000
_TEXT_BUDGET = 350_000
_MAX_ROWS = 200
# Longer formulas are shown as code, which wraps.
_LONGEST_DRAWN = 600

_PLOT_TITLES = {
    "progress": ("Progress of the search", "Filled dots were measured in full. Ticks below the "
                 "axis are rejected candidates, by reason."),
    "leaderboard": ("Leaders and baselines", "Bars that end with an arrow go on past the edge."),
    "layers": ("Where the zeros are", "Bars show how far each block is from the target: up means "
               "more zeros. Rest the pointer on a bar for its projections."),
    "pareto": ("Perplexity against sparsity", "Steps join the recipes that no other beats at the "
               "same or a higher sparsity."),
}  # fmt: skip


@dataclass(frozen=True)
class TableRow:
    """One leaderboard line, ready to print.

    ``sort`` holds numbers by column name; a missing one sorts last.
    """

    entry: ReportEntry
    formula: str
    mathml: Markup | None
    perplexity: str
    left_out: str
    sealed: str
    change: str
    tone: str
    interval: str
    sparsity: str
    reasoning: str
    source: str
    spark: str
    spark_note: str
    rungs: list[tuple[str, str]]
    more: list[tuple[str, str]]
    parents: list[str]
    seconds: str
    verdict: str
    sort: dict[str, float]


def render(report: RunReport, inspection: Inspection | None = None) -> str:
    """The whole report as HTML text, under 2 MB."""
    script = asset("script.js")
    winner = report.winner
    shown = in_order(report)[:_MAX_ROWS]
    limit = min(_TEXT_LIMIT, _TEXT_BUDGET // max(1, len(shown)))
    rows = [_row(report, entry, limit) for entry in shown]
    page = template("report.html.j2").render(
        report=report,
        model=short_model(report.model),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=asset("colours.css", "graph.css", "style.css"),
        summary=sentences.summary(report),
        opening=2 + len(sentences.benefit(report)),
        authorship=authorship(report),
        dequantised=sentences.dequantised(report),
        authors={entry.id: author(report, entry) for entry in report.entries},
        trust=sentences.trust(report),
        tiles=_tiles(report),
        rows=rows,
        left_out=len(report.entries) - len(shown),
        winner=next((row for row in rows if winner and row.entry.id == winner.id), None),
        ranked_by=sentences.fitness(report),
        sealed=any(e.sealed_perplexity is not None for e in report.entries),
        has_sealed=any(e.sealed_perplexity is not None or e.sealed_failure for e in report.entries),
        pictures=[*_pictures(report), *_inspected(inspection)],
        proposals=[(line, sentences.duration(line.seconds)) for line in proposals(report)],
        rejections=sentences.rejections(report),
        front=[
            (entry.alias, number(entry.perplexity), sentences.duration(entry.seconds))
            for entry in sorted(report.entries, key=lambda entry: entry.seconds)
            if entry.front
        ],
        graphs=drawings(report),
        details=packed_details(report),
        stages=[(s.name, sentences.duration(s.seconds)) for s in report.stages],
        total=sentences.duration(sum(s.seconds for s in report.stages)),
        spec=clipped(_pretty(report.spec), 20_000),
    )
    # Model output may hold lone surrogates, which no file can.
    return page.encode("utf-8", "replace").decode()


def write_html(report: RunReport, path: Path, inspection: Inspection | None = None) -> None:
    """Render and write the report, atomically; see :func:`render`."""
    write_text(path, render(report, inspection))


def _row(report: RunReport, entry: ReportEntry, limit: int) -> TableRow:
    blocks = by_block(entry.layer_sparsity, report.layer_numel)
    shares = [block.share for block in blocks]
    sort = {"order": float(entry.order), "seconds": entry.seconds}
    for name, value in (
        ("perplexity", entry.perplexity if entry.measured else None),
        ("change", entry.change_vs_wanda if entry.measured else None),
        ("sealed", entry.sealed_perplexity),
        ("sparsity", entry.sparsity),
    ):
        if value is not None:
            sort[name] = value
    return TableRow(
        entry=entry,
        formula=plain(entry.formula, 240),
        mathml=_drawn(entry.formula),
        perplexity=number(entry.perplexity),
        left_out=shown_left_out(entry),
        sealed=sentences.sealed_figure(entry),
        change="reference"
        if entry == report.baseline(report.reference)
        else percent(entry.change_vs_wanda, sign=True),
        tone=sentences.tone(entry),
        interval="" if entry == report.baseline(report.reference) else sentences.interval(entry),
        sparsity=percent(entry.sparsity, digits=2),
        reasoning=_fitted(entry.reasoning, limit),
        source=_fitted(entry.source, limit),
        spark=_spark(shares, report.sparsity or 0.0),
        spark_note=f"{percent(min(shares))} to {percent(max(shares))}" if shares else "",
        rungs=[
            (sentences.rung_text(name, entry.left_out * (name == entry.masks_alone)), number(value))
            for name, value in entry.rungs.items()
        ],
        more=_more(entry),
        parents=[plain(e.alias, 40) for e in report.entries if e.id in entry.parents],
        seconds=sentences.duration(entry.seconds),
        verdict=shown_verdict(entry),
        sort=sort,
    )


def _drawn(formula: str) -> Markup | None:
    """The formula as MathML; None for what is to be shown as code: names, programs, long ones."""
    if len(formula) > _LONGEST_DRAWN:
        return None
    try:
        return Markup(parse(formula).to_mathml())
    except ExpressionError:
        return None


def _more(entry: ReportEntry) -> list[tuple[str, str]]:
    """Figures that only some entries have: other sparsities, other draws, distance to dense."""
    found = [(f"At {percent(p.sparsity)}", number(p.perplexity)) for p in entry.curve]
    if entry.draws:
        found.append(("By draw of calibration text", ", ".join(map(number, entry.draws))))
    if entry.kl is not None:
        found.append(("Distance to the dense model", f"{entry.kl:.3f} nats per token"))
    if entry.sealed_failure:
        found.append(("No sealed figure", plain(entry.sealed_failure, 300)))
    return found


def _fitted(text: str, limit: int) -> str:
    """``text`` cut so that its escaped form takes about ``limit`` characters."""
    grown = max(1.0, len(escape(text)) / max(1, len(text)))
    return clipped(text, round(limit / grown))


def _spark(shares: list[float], target: float) -> str:
    """Path of bars around a middle line, 6 units wide each, 40 high; empty if all are alike."""
    if not shares or max(shares) - min(shares) < 1e-3:
        return ""
    reach = max(0.02, *(abs(share - target) for share in shares))
    heights = [18 * (share - target) / reach for share in shares]
    return "".join(f"M{6 * i} 20v{-h:.1f}h5v{h:.1f}z" for i, h in enumerate(heights))


def _tiles(report: RunReport) -> list[tuple[str, str, str]]:
    """Label, figure and note of the boxes on top."""
    winner, wanda = report.winner, report.baseline(report.reference)
    tiles = []
    if winner is not None:
        tiles += _benefit(report)
        note = f"{report.reference_name} {number(wanda.perplexity)}, " if wanda else ""
        note += f"dense {number(report.dense_perplexity)}"
        tiles.append(("Perplexity of the best recipe", number(winner.perplexity), note))
        if winner.change_vs_wanda is not None:
            text = percent(winner.change_vs_wanda, sign=True)
            tiles.append(
                (
                    f"Against {report.reference_name}",
                    text,
                    sentences.interval(winner) or "no interval",
                )
            )
        change, start = change_to_start(report), best_start(report)
        if change is not None and start is not None:
            note = _against_start(report, start)
            tiles.append(("Against the best start", percent(change, sign=True), note))
        tiles.append(("Written by", author(report, winner), authorship(report)))
        if winner.sealed_perplexity is not None:
            parts = []
            if wanda and wanda.sealed_perplexity:
                parts.append(f"{report.reference_name} {number(wanda.sealed_perplexity)}")
            if (found := contrast(report, REFERENCE, "sealed")) is not None and found.interval:
                # A bracket after the reference's figure would look like an interval of that.
                parts.append(f"against it {bounds(*found.interval)}")
            if report.dense_sealed_perplexity:
                parts.append(f"dense {number(report.dense_sealed_perplexity)}")
            if report.sealed_set is not None:
                parts.append(looks(report.sealed_set.earlier))
            title = "Sealed split"
            if report.sealed_set is not None:
                title = f"Sealed set {report.sealed_set.number}"
            tiles.append((title, number(winner.sealed_perplexity), ", ".join(parts)))
        elif winner.sealed_failure:
            tiles.append(("Sealed split", "no figure", plain(winner.sealed_failure, 80)))
    rejected = sum(bool(e.code) for e in report.candidates)
    tiles.append(("Candidates", str(len(report.candidates)), f"{rejected} rejected"))
    if report.stages:
        total = sentences.duration(sum(stage.seconds for stage in report.stages))
        tiles.append(("Time", total, plain(report.ended, 60)))
    return tiles


def _benefit(report: RunReport) -> list[tuple[str, str, str]]:
    if report.outcome is None:
        return []
    size, before = report.outcome.saved_bytes, report.outcome.source_bytes
    return [
        ("Size", megabytes(size), f"{megabytes(before)} before"),
        ("Speed", *speed_in_short(report.pattern, sentences.scheme_of(report), report.outcome)),
    ]


def _against_start(report: RunReport, start: ReportEntry) -> str:
    parts = [f"{plain(start.alias, 40)} {number(start.perplexity)}"]
    if (found := contrast(report, BEST_START, "selection")) is not None and found.interval:
        parts.append(bounds(*found.interval))
    if (found := contrast(report, BEST_START, "sealed")) is not None:
        sealed = f"sealed {percent(found.change, sign=True)}"
        parts.append(f"{sealed} ({bounds(*found.interval)})" if found.interval else sealed)
    return "; ".join(parts)


def _pictures(report: RunReport) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "title": _PLOT_TITLES[name][0],
            "note": _PLOT_TITLES[name][1],
            "wide": Markup(plots.svg(report, name, "wide")),
            "narrow": Markup(plots.svg(report, name, "narrow")),
        }
        for name in plots.names(report)
    ]


def _inspected(found: Inspection | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    note = (
        f"The inspection that prompts quote: nats per token added on {found.windows} selection "
        f"windows of {plain(found.corpus, 80)}, each kind or block pruned alone by Wanda's scores."
    )
    wide, narrow = (Markup(inspection_svg(found, size)) for size in ("wide", "narrow"))
    title = "The model before pruning"
    return [{"name": "inspection", "title": title, "note": note, "wide": wide, "narrow": narrow}]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
