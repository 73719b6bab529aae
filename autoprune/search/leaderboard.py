"""The archive as a table: measured entries by rank, then duplicates, then rejections."""

from dataclasses import dataclass

from autoprune.design.formulas import expression_of
from autoprune.search.archive import Archive, Entry
from autoprune.search.paired import Difference


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard.

    Args:
        rank: From 1 among entries with a result of their own; None for the others.
        entry: Everything on record; see :class:`autoprune.search.archive.Entry`.
        latex: The formula for papers, empty if there is none.
        perplexity: At the highest rung reached.
        windows: Selection windows behind ``perplexity``.
        promised: Only the masks were measured, with the proxy's repair instead of the recipe's.
        change: Paired difference to the reference on common windows.
        verdict: ``winner``, ``baseline``, ``better``, ``worse``, ``unclear``, ``duplicate``,
            ``skipped`` or ``rejected``; relative to the reference.
    """

    rank: int | None
    entry: Entry
    latex: str
    perplexity: float | None
    windows: int
    promised: bool
    change: Difference | None
    verdict: str


def prediction_text(entry: Entry) -> str:
    """Return a prediction in words, empty if there is none; marked if the designer left it out."""
    return "" if entry.prediction is None else entry.prediction.text


def leaderboard(archive: Archive) -> list[Row]:
    """Return all entries, best first; those without an own result come last, in design order."""
    winner = archive.winner()
    measured = archive.measured()
    rows = [_row(entry, rank, entry is winner) for rank, entry in enumerate(measured, 1)]
    ranked = {entry.alias for entry in measured}
    others = [entry for entry in archive if entry.alias not in ranked]
    others.sort(key=lambda entry: (entry.status != "duplicate", entry.order))
    return rows + [_row(entry, None, False) for entry in others]


def _row(entry: Entry, rank: int | None, is_winner: bool) -> Row:
    measurement = entry.measurement
    expression = expression_of(entry.recipe.metric) if entry.recipe else None
    return Row(
        rank=rank,
        entry=entry,
        latex=expression.to_latex() if expression else "",
        perplexity=measurement.perplexity if measurement else None,
        windows=len(measurement.nll) if measurement else 0,
        promised=measurement is not None and entry.whole is None,
        change=entry.change,
        verdict=_verdict(entry, is_winner),
    )


def _verdict(entry: Entry, is_winner: bool) -> str:
    if entry.status in ("rejected", "duplicate", "skipped"):
        return entry.status
    if is_winner:
        return "winner"
    if entry.is_baseline and entry.status == "measured":
        return "baseline"
    return entry.change.verdict if entry.change else "unmeasured"
