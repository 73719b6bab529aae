"""Figures and protocol as short texts, the same in every form of the table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.comparison.draws import too_common
from autoprune.comparison.methods import PEER
from autoprune.comparison.result import Comparison
from autoprune.comparison.rows import OK, Row

# Above ten times as bad, a factor reads better.
MOST_PERCENT = 9.0


def figure(value: float | None) -> str:
    """A perplexity: two decimals, fewer when large."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def with_deviation(row: Row, draws: int) -> str:
    """``45.31 ± 0.42``; ``unavailable`` without a figure.

    Args:
        row: The row.
        draws: Calibration draws that were asked for; a row that has fewer says so.
    """
    if row.status != OK:
        return "unavailable"
    spread = f" ± {figure(row.deviation)}" if row.deviation is not None else ""
    cut = f" ({row.seeds} of {draws} draws)" if row.seeds < draws else ""
    return figure(row.perplexity) + spread + cut


def percent(value: float | None) -> str:
    """``+1.2 %`` with a true minus; ``x 21.3`` for what is many times worse."""
    if value is None:
        return "–"
    if value > MOST_PERCENT:
        return f"x {value + 1:,.1f}" if math.isfinite(value) else "∞"
    return f"{100 * value:+.1f} %".replace("-", "−")


def change(row: Row) -> str:
    """``−12.1 % [−14.0, −10.3]``; with the number of pairs where a draw of the row has none."""
    text = percent(row.change)
    if row.interval is not None and row.change is not None:
        low, high = (percent(value).removesuffix(" %") for value in row.interval)
        text = f"{text} [{low}, {high}]"
    few = row.paired_draws is not None and row.paired_draws < row.seeds
    return f"{text} over {row.paired_draws} draws of both" if few else text


def short_change(row: Row, baseline: str) -> str:
    """``(−12.1 %)``, with ``≈`` where the interval holds zero; empty for the baseline itself."""
    if row.change is None or row.method == baseline:
        return ""
    return f"({'' if row.distinguishable else '≈ '}{percent(row.change)})"


def seconds(value: float | None) -> str:
    """Seconds with one decimal."""
    return "–" if value is None else f"{value:.1f}"


def exact_zeros(row: Row) -> str:
    """``63,700,992 of 106,168,320``."""
    return "–" if row.zeros is None else f"{row.zeros:,} of {row.prunable:,}"


def protocol_lines(result: Comparison) -> list[tuple[str, str]]:
    """What the figures depend on, as names and values."""
    p: Mapping[str, Any] = result.protocol
    draws = ", ".join(f"{n} {d[:12]}" for n, d in enumerate(p["draw_digests"]))
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
            f"{p['corpus']}, split seed {p['split_seed']}, splits {p['splits_digest'][:12]}, "
            f"{p['shared_documents']} documents dropped for text shared between the parts",
        ),
        (
            "windows",
            f"{p['seqlen']} tokens: {p['calibration_windows']} calibration from a pool of "
            f"{p['calibration_pool']}, {p['selection_windows']} selection, "
            f"{p['sealed_windows']} sealed ({p['sealed_digest'][:12]})",
        ),
        ("overlap", _overlap(p["overlap"])),
        ("draws", f"{p['seeds']}: {draws}" + (f"; {warning}" if warning else "")),
        ("tuning", tuned),
        ("sealed", f"read {p['sealed_touches']} times so far, by searches, evaluations and cells"),
        ("numbers", f"{p['dtype']} on {p['device']}, tokenizer {p['tokenizer'][:12]}"),
        (
            "made",
            f"{p['date']}, {_code(result)}, torch {p['versions']['torch']}, "
            f"transformers {p['versions']['transformers']}, "
            f"{p['machine']['processor']}, {p['machine']['threads']} threads",
        ),
        (
            "intervals",
            f"95 %, bootstrap over windows of the paired difference to {result.baseline}, losses "
            "averaged over the draws that both have; ± is the sample deviation over draws",
        ),
        (
            "seconds",
            "scores, masks and repair; not the statistics of the dense model, which a draw's "
            f"methods share; with the passes that sequential methods, walk, ebft and {PEER} make",
        ),
    ]


def _overlap(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Documents that share a run of words with another part, by pair of parts."""
    sizes = list(dict.fromkeys(pair["words"] for pair in pairs))
    counts: dict[str, list[str]] = {}
    for pair in pairs:
        name = f"{pair['first']} with {pair['second']}"
        counts.setdefault(name, []).append(f"{pair['shared']} of {pair['checked']}")
    found = ", ".join(f"{name} {' and '.join(shared)}" for name, shared in counts.items())
    return f"documents that share {' and '.join(map(str, sizes))} words after the drop: {found}"


def _code(result: Comparison) -> str:
    """Version and commits: of this run, and of cells that others measured."""
    own = result.protocol["commit"]
    others = [_short(commit) for commit in result.commits if commit != own]
    said = f"autoprune {result.protocol['versions']['autoprune']}"
    said += f", commit {_short(own)}" if own else ""
    return said + (f", cells also of commit {', '.join(others)}" if others else "")


def _short(commit: str) -> str:
    head, space, changed = commit.partition(" ")
    return head[:12] + space + changed


def unavailable(result: Comparison) -> list[str]:
    """``method at budget: reason`` for all rows without a figure."""
    return [
        f"{row.method} at {row.target}: unavailable: {row.reason}"
        for row in result.rows
        if row.status != OK
    ]
