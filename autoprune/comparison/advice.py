"""Recommend a method in plain words: chosen on selection windows, reported on sealed ones."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.comparison.measured import OK, Measured, judged, mean, pair
from autoprune.comparison.rows import MethodRow


@dataclass(frozen=True)
class Advice:
    """The recommendation at one budget.

    Args:
        target: The budget's label.
        method: The method with the lowest mean selection perplexity; None if none is usable.
        text: The reason.
        ties: Methods that the sealed windows cannot distinguish from it after Holm's correction
            over all methods compared with it, cheapest first.
    """

    target: str
    method: str | None
    text: str
    ties: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)


def advise(
    rows: Sequence[MethodRow], measured: Sequence[Measured], baseline: str, dense: float | None
) -> tuple[Advice, ...]:
    """Make one recommendation per budget."""
    labels = list(dict.fromkeys(row.target for row in rows))
    cells = {(entry.method, entry.target["label"]): entry for entry in measured}
    return tuple(
        _advise_one(label, [r for r in rows if r.target == label], cells, baseline, dense)
        for label in labels
    )


def _advise_one(
    label: str,
    rows: Sequence[MethodRow],
    cells: dict[tuple[str, str], Measured],
    baseline: str,
    dense: float | None,
) -> Advice:
    usable = [
        row
        for row in rows
        if row.status == OK
        and row.selection is not None
        and row.perplexity is not None
        and math.isfinite(row.selection)
        and math.isfinite(row.perplexity)
    ]
    if not usable:
        return Advice(label, None, f"At {label} no method has a finite perplexity.")
    selection, over = _selection(usable, cells, label)
    best = min(usable, key=lambda row: selection[row.method])
    own = cells[(best.method, label)]
    others = [row for row in usable if row is not best]
    pairs = [pair(cells[(row.method, label)], own) for row in others]
    ties, better, draws = [], [], []
    # The best was chosen on other windows, so only the number of contrasts needs correction.
    for row, entry, found in zip(others, pairs, judged(best.method, pairs), strict=True):
        draws.append((entry.draws, max(len(cells[(row.method, label)].seeds), len(own.seeds))))
        if not found.distinguishable:
            ties.append(row)
        elif found.change is not None and found.change < 0:
            better.append(row)
    ties.sort(key=lambda row: row.prune_seconds or 0.0)
    chosen = f"{selection[best.method]:.2f}{over}"
    text = _reason(label, best, baseline, dense, len(usable), chosen)
    if better:
        names = ", ".join(row.method for row in better)
        text += (
            f" On the sealed windows {names} is lower, but choosing by them now would spend the "
            "seal; take more selection windows to settle it."
        )
    if ties:
        text += _about_ties(best, ties)
    elif len(usable) > 1 and not better:
        text += (
            f" Against each of the {len(others)} others the sealed windows show a difference, "
            "after Holm's correction."
            if len(others) > 1
            else " Against the other the sealed windows show a difference."
        )
    if any(count < most for count, most in draws):
        least, most = min(draws)[0], max(most for _, most in draws)
        text += f" Pairs are over the draws that both have, at least {least} of {most}."
    return Advice(label, best.method, text, tuple(row.method for row in ties))


def _selection(
    usable: Sequence[MethodRow], cells: dict[tuple[str, str], Measured], label: str
) -> tuple[dict[str, float], str]:
    """Return the selection perplexity by method over the common draws, and a note on the draws.

    The note is empty if all methods have the same draws.
    """
    found = {row.method: row.selection or math.inf for row in usable}
    drawn = [set(cells[(row.method, label)].seeds) for row in usable]
    common = set.intersection(*drawn)
    if all(seeds == common for seeds in drawn):
        return found, ""
    if not common:
        return found, ", over different draws"
    for row in usable:
        of_all = cells[(row.method, label)].over(common)
        found[row.method] = mean(of_all.perplexities("selection"))
    words = f"the {len(common)} draws" if len(common) > 1 else "the one draw"
    return found, f" over {words} that all have"


def _reason(
    label: str, best: MethodRow, baseline: str, dense: float | None, count: int, selection: str
) -> str:
    strength = f" (as {best.measured_as})" if best.measured_as != best.method else ""
    spread = f" ± {best.deviation:.2f}" if best.deviation is not None else ""
    why = (
        "lowest perplexity on the selection windows" if count > 1 else "the only one with a figure"
    )
    among = f" of {count} methods" if count > 1 else ""
    text = (
        f"At {label} take {best.method}{strength}: {why}{among} ({selection}); "
        f"sealed {best.perplexity:.2f}{spread}"
    )
    if dense is not None:
        text += f", dense {dense:.2f}"
    change, interval = best.against.change, best.against.interval
    if best.method != baseline and change is not None:
        text += f"; {100 * change:+.1f} % against {baseline}"
        if interval is not None:
            low, high = (100 * value for value in interval)
            text += f" [{low:+.1f}, {high:+.1f}]"
    return text + "."


def _about_ties(best: MethodRow, ties: Sequence[MethodRow]) -> str:
    names = ", ".join(row.method for row in ties[:3])
    more = f" and {len(ties) - 3} more" if len(ties) > 3 else ""
    text = f" The sealed windows do not tell it apart from {names}{more}"
    cheapest = ties[0]
    seconds, own = cheapest.prune_seconds or 0.0, best.prune_seconds or 0.0
    if own > 1.5 * seconds:
        text += f"; {cheapest.method} is the cheaper one ({seconds:.1f} s for {own:.1f} s)"
    return text + "."
