"""The Pareto front of perplexity and seconds: entries that no other matches in both."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.report.data import ReportEntry


def front(entries: "Iterable[ReportEntry]") -> "list[ReportEntry]":
    """Entries that no other matches in both speed and quality, fastest first.

    Only measured entries with a time are compared; of equal ones, the first stays.
    """
    found: list[ReportEntry] = []
    timed = [entry for entry in entries if entry.measured and entry.seconds > 0]
    for entry in sorted(timed, key=lambda entry: (entry.seconds, entry.perplexity or 0.0)):
        best = found[-1].perplexity if found else None
        if best is None or (entry.perplexity is not None and entry.perplexity < best):
            found.append(entry)
    return found
