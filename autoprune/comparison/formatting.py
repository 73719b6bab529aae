"""Figures and protocol as short texts, the same in every format of the table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.comparison.draws import too_common
from autoprune.comparison.measured import OK, Against
from autoprune.comparison.measures import FurtherFigure
from autoprune.comparison.methods import PEER
from autoprune.comparison.result import Comparison
from autoprune.comparison.rows import MethodRow
from autoprune.evaluation.intervals import LEVEL
from autoprune.repair import EBFT, RECOVER
from autoprune.report.sealed import SealedSet
from autoprune.spelling import split_outside

# Above ten times the baseline, a factor reads better than a percentage.
MOST_PERCENT = 9.0


def figure(value: float | None) -> str:
    """Format a perplexity with two decimals, fewer if it is large."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def with_deviation(row: MethodRow, draws: int) -> str:
    """Format a perplexity as ``45.31 ± 0.42``, or ``unavailable`` without a figure."""
    if row.status != OK:
        return "unavailable"
    spread = f" ± {figure(row.deviation)}" if row.deviation is not None else ""
    cut = f" ({row.seeds} of {draws} draws)" if row.seeds < draws else ""
    return figure(row.perplexity) + spread + cut


def percent(value: float | None) -> str:
    """Format as ``+1.2 %`` with a true minus sign, or ``x 21.3`` if many times worse."""
    if value is None:
        return "–"
    if value > MOST_PERCENT:
        return f"x {value + 1:,.1f}" if math.isfinite(value) else "∞"
    return f"{100 * value:+.1f} %".replace("-", "−")


def change(row: MethodRow, against: Against) -> str:
    """Format as ``−12.1 % [−14.0, −10.3] p 0.012``, p corrected; says if few draws are paired."""
    if row.method == against.baseline:
        return "baseline"
    text = percent(against.change)
    if against.interval is not None and against.change is not None:
        low, high = (percent(value).removesuffix(" %") for value in against.interval)
        text = f"{text} [{low}, {high}] {p_value(against.p_adjusted)}"
    few = against.draws is not None and against.draws < row.seeds
    return f"{text} over {against.draws} draws of both" if few else text


def p_value(value: float | None) -> str:
    """Format as ``p 0.012`` or ``p < 0.001``."""
    if value is None:
        return "–"
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}" if value < 0.1 else f"p {value:.2f}"


def short_change(row: MethodRow, baseline: str) -> str:
    """Format as ``(−12.1 %)``, with ``≈`` if not significant; empty for the baseline itself."""
    if row.against.change is None or row.method == baseline:
        return ""
    return f"({'' if row.against.distinguishable else '≈ '}{percent(row.against.change)})"


def measure(entry: FurtherFigure | None) -> str:
    """Format a suite's figure and its change against the baseline: ``0.412 ± 0.006 (+0.020)``."""
    if entry is None or entry.value is None:
        return "–"
    spread = f" ± {entry.deviation:.3g}" if entry.deviation is not None else ""
    if entry.difference is None:
        return f"{entry.value:.4g}{spread}"
    clear = entry.p_adjusted is not None and entry.p_adjusted < 1 - LEVEL
    moved = percent(entry.difference) if entry.relative else f"{entry.difference:+.3g}"
    moved = moved.replace("-", "−")
    return f"{entry.value:.4g}{spread} ({'' if clear else '≈ '}{moved})"


def megabytes(dense: int | None, compact: int | None) -> str:
    """Format as ``269.1 → 155.2``: millions of bytes as saved and in compact form."""
    if dense is None or compact is None:
        return "–"
    return f"{dense / 1e6:.1f} → {compact / 1e6:.1f}"


def seconds(value: float | None) -> str:
    """Format seconds with one decimal."""
    return "–" if value is None else f"{value:.1f}"


def exact_zeros(row: MethodRow) -> str:
    """Format as ``63,700,992 of 106,168,320``."""
    return "–" if row.zeros is None else f"{row.zeros:,} of {row.prunable:,}"


def protocol_lines(result: Comparison) -> list[tuple[str, str]]:
    """Return everything the figures depend on, as names and values."""
    p: Mapping[str, Any] = result.protocol
    texts: Mapping[str, Any] = p.get("calibration_texts", {})
    draws = "of each text" if texts else _numbered(p["draw_digests"])
    tuned = (
        f"{result.tune} selection trials for every allocator whose strength was left open"
        if result.tune
        else "none; every method at its defaults"
    )
    warning = too_common(p["calibration_pool"], p["calibration_windows"], p["seeds"])
    cut = f"{result.finished} of {result.planned} cells so far; the same command goes on"
    return [
        *([("unfinished", cut)] if result.finished < result.planned else []),
        ("model", f"{result.model} ({p['model_digest'][:12]}), {p['prunable']:,} prunable weights"),
        ("dense", f"perplexity {figure(result.dense)}"),
        (
            "text",
            f"{p['corpus']}, split {p['split_seed']}, splits {p['splits_digest'][:12]}, "
            f"{p['shared_documents']} documents dropped for text shared between the parts",
        ),
        (
            "windows",
            f"{p['seqlen']} tokens: {p['calibration_windows']} calibration from a pool of "
            f"{p['calibration_pool']}, {p['selection_windows']} selection, "
            f"{p['sealed_windows']} sealed ({p['sealed_digest'][:12]})",
        ),
        ("overlap", _overlap(p["overlap"])),
        *((f"text {name}", _calibration(t)) for name, t in texts.items()),
        ("draws", f"{p['seeds']}: {draws}" + (f"; {warning}" if warning else "")),
        ("tuning", tuned),
        ("sealed", _sealed(p)),
        (
            "numbers",
            f"{p['dtype']} on {p['device']}, tokenizer {p['tokenizer'][:12]}, beginning token of "
            f"each window: {p.get('beginning_token', 'not recorded')}",
        ),
        *_rounding(result),
        (
            "made",
            f"{p['date']}, {_code(result)}, torch {p['versions']['torch']}, "
            f"transformers {p['versions']['transformers']}, "
            f"{p['machine']['processor']}, {_threads(result)}",
        ),
        ("intervals", _intervals(result)),
        *_power(result),
        (
            "seconds",
            "scores, masks and repair; not the statistics of the dense model, which a draw's "
            f"methods share; with the passes that sequential methods, walk, ebft and {PEER} make",
        ),
    ]


def _numbered(digests: Sequence[str]) -> str:
    return ", ".join(f"{n} {digest[:12]}" for n, digest in enumerate(digests))


def _calibration(text: Mapping[str, Any]) -> str:
    """Describe a calibration text, its draws and what was left out, or why it is missing."""
    if "reason" in text:
        return f"{text['ref']}: {text['reason']}"
    line = f"{text['ref']} ({text['digest'][:12]}), draws {_numbered(text['draw_digests'])}"
    if "overlap" in text:
        line += f"; {text['overlap']['dropped']} of {text['overlap']['checked']} documents left out"
        line += " for text shared with the selection and sealed parts"
    return "; ".join([line, *text["notes"]])


def _rounding(result: Comparison) -> list[tuple[str, str]]:
    """What block tuning computes in, where a method tunes."""
    products = result.protocol.get("products")
    # By the words alone: the file of a program may be gone.
    named = [part for name in result.methods for part in split_outside(name, "+")]
    words = {part.partition(":")[0].partition("@")[0] for part in named}
    if products is None or not words & {EBFT, RECOVER}:
        return []
    free = "; --precision float32 is the same on every processor" if products != "float32" else ""
    return [("rounding", f"tuning's products {products}{free}")]


def _intervals(result: Comparison) -> str:
    held = "windows and draws" if result.draws > 1 else "windows only, as there is one draw"
    names = ", ".join(result.baselines)
    return (
        f"95 % each, of the paired difference to {names}, over {held}; p and ≈ after Holm's "
        "correction over the methods at a budget; ± is the sample deviation over draws"
    )


def _power(result: Comparison) -> list[tuple[str, str]]:
    """Return the smallest detectable changes, one line for each baseline."""
    lines = []
    for name in result.baselines:
        found = {target: result.detectable(target, name) for target in result.targets}
        parts = [
            f"{target} {_share(values[1])} ({_share(values[0])} to {_share(values[2])})"
            for target, values in found.items()
            if values is not None
        ]
        if parts:
            lines.append(
                (
                    "power",
                    f"smallest change against {name} that would be found with 80 %, 5 % two-sided "
                    f"after the correction, median (lowest to highest): {', '.join(parts)}",
                )
            )
    return lines


def _share(value: float) -> str:
    return percent(value).removeprefix("+")


def _sealed(p: Mapping[str, Any]) -> str:
    """Describe the sealed set and count how often it has been read so far."""
    known = SealedSet(**p["sealed_set"]).facts + "; " if "sealed_set" in p else ""
    return f"{known}read {p['sealed_touches']} times so far, by searches, evaluations and cells"


def _overlap(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Count the documents that share a run of words with another part, by pair of parts."""
    sizes = list(dict.fromkeys(pair["words"] for pair in pairs))
    counts: dict[str, list[str]] = {}
    for pair in pairs:
        name = f"{pair['first']} with {pair['second']}"
        counts.setdefault(name, []).append(f"{pair['shared']} of {pair['checked']}")
    found = ", ".join(f"{name} {' and '.join(shared)}" for name, shared in counts.items())
    return f"documents that share {' and '.join(map(str, sizes))} words after the drop: {found}"


def _code(result: Comparison) -> str:
    """Return version and commit of this run, and the commits of cells from other runs."""
    own = result.protocol["commit"]
    others = [_short(commit) for commit in result.commits if commit != own]
    line = f"autoprune {result.protocol['versions']['autoprune']}"
    line += f", commit {_short(own)}" if own else ""
    return line + (f", cells also of commit {', '.join(others)}" if others else "")


def _threads(result: Comparison) -> str:
    """Return the number of threads of this run, and those of cells from other runs."""
    own = result.protocol["machine"]["threads"]
    others = " and ".join(str(number) for number in result.threads if number != own)
    return f"{own} threads" + (f", cells also with {others} threads" if others else "")


def _short(commit: str) -> str:
    head, space, changed = commit.partition(" ")
    return head[:12] + space + changed


def unavailable(result: Comparison) -> list[str]:
    """Return ``method at budget: reason`` for all missing rows and suite figures."""
    return [
        f"{row.method} at {row.target}: unavailable: {row.reason}"
        for row in result.rows
        if row.status != OK
    ] + [
        f"{row.method} at {row.target}, {name}: unavailable: {reason}"
        for row in result.rows
        for name, reason in (
            *row.failed_suites.items(),
            *((entry.column, entry.reason) for entry in row.measures if entry.reason),
        )
    ]
