"""The result of a search for an agent to report: the winner against what it has to beat."""

from typing import Any

from autoprune.report.data import RunReport
from autoprune.report.evidence import WinnerChange


def outcome(report: RunReport) -> dict[str, Any]:
    """Return the winner's changes, how often its sealed text had been read, and who answered."""
    winner, known = report.winner, report.sealed_set
    designer = report.spec.get("designer", {})
    models = [designer.get("model"), *designer.get("also_models", ())]
    return {
        "winner": None if winner is None else winner.alias,
        "winner_written_by": None if winner is None else winner.author,
        "answered_by": ", ".join(name for name in models if name) or "nobody gave a name",
        "winner_against": [_change(contrast) for contrast in report.contrasts],
        "sealed_set": None
        if known is None
        else {"number": known.number, "earlier_looks": known.earlier, "is": known.facts},
        "dense_perplexity": {
            "selection": report.dense_perplexity,
            "sealed": report.dense_sealed_perplexity,
        },
    }


def _change(contrast: WinnerChange) -> dict[str, Any]:
    ends = contrast.interval
    return {
        "versus": contrast.versus,
        "which_is": contrast.role,
        "split": contrast.split,
        "windows": contrast.windows,
        "change_percent": round(100 * contrast.change, 2),
        "interval_percent": None if ends is None else [round(100 * end, 2) for end in ends],
    }
