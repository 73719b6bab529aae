"""Depth, width and skipping, and calibration on three texts: what a record of `compare` says.

From LLMs to LRMs (arXiv 2601.18091) reports that removing blocks keeps more of classification,
removing width more of generation, and that text of the model's own kind is the steadier
calibration. For a record that holds schemes at several shares and, as ``METHOD@TEXT``, on several
texts, this prints by measure:

- each scheme, share and text, with the deviation over draws;
- the mean of the depth schemes less that of the width schemes, paired by item and draw, over all
  texts;
- each text less the first, over all schemes, and its deviation over draws by that of the first.

Intervals are those of ``autoprune compare``, of perplexities in nats per token; p is after Holm's
correction over a table.
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.comparison.formatting import p_value
from autoprune.comparison.measures import columns_of, items_of, protocols_of
from autoprune.evaluation.contrasts import Contrast, contrast, holm
from benchmarks.evidence.records import DENSE, EvidenceError, Record, Windows, read_record
from benchmarks.table import publish

# Schemes by the family that the paper compares, by the name before any colon.
FAMILIES = {"depth": "depth", "width": "width", "rotate": "width", "router": "dynamic"}
LOSS = "loss on sealed text"


@dataclass(frozen=True)
class Cell:
    """A scheme at a share, calibrated on a text; values are [items, draws].

    Args:
        scheme: Its text.
        share: The budget as the record names it.
        text: Name of the calibration text; empty if the record names none.
        values: By measure: the loss of each sealed window, in nats per token, or what each item of
            a suite counts; of a perplexity, nats per token.
    """

    scheme: str
    share: str
    text: str
    values: Mapping[str, Windows]

    @property
    def family(self) -> str:
        """What the paper calls its kind; empty for other methods."""
        return FAMILIES.get(self.scheme.partition(":")[0], "")


def cells_of(record: Record) -> list[Cell]:
    """All cells but the dense model's: each scheme at each share and text, with the same draws.

    Raises:
        EvidenceError: If a cell, a draw or a measure is missing that another one has, or a measure
            was made by different protocols.
    """
    found: dict[tuple[str, str, str], Cell] = {}
    draws: set[tuple[int, ...]] = set()
    protocols: dict[str, set[str]] = {}
    for (method, share), losses in record.losses.items():
        if method == DENSE:
            continue
        scheme, _, text = method.partition("@")
        numbers = tuple(sorted(losses))
        values = {LOSS: np.array([losses[draw] for draw in numbers]).T}
        records = [record.cells[method, share][draw] for draw in numbers]
        for column in columns_of(records):
            items = [items_of(one, column) for one in records]
            if min(map(len, items)) > 1:
                values[column] = np.array(items).T
                protocols.setdefault(column, set()).update(protocols_of(records, column))
        draws.add(numbers)
        found[scheme, share, text] = Cell(scheme, share, text, values)
    name = record.folder.name
    axes = (dict.fromkeys(place[axis] for place in found) for axis in range(3))
    if missing := [place for place in itertools.product(*axes) if place not in found]:
        scheme, share, text = missing[0]
        raise EvidenceError(f"{name} lacks {scheme}@{text} at {share}, so nothing is balanced")
    if len(draws) > 1:
        raise EvidenceError(f"{name}: cells have different draws, {sorted(draws)}")
    measures = {measure for cell in found.values() for measure in cell.values}
    for cell in found.values():
        if lacking := measures - cell.values.keys():
            where = f"{cell.scheme}@{cell.text} at {cell.share}"
            raise EvidenceError(f"{name}: {where} lacks {', '.join(sorted(lacking))}")
    if unlike := [column for column, known in protocols.items() if len(known) > 1]:
        raise EvidenceError(f"{name}: {unlike[0]} was measured by different protocols")
    return list(found.values())


def described(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Mean of each measure over items and draws, with its sample deviation over draws."""
    rows = []
    for cell in cells:
        row: dict[str, Any] = {"scheme": cell.scheme, "share": cell.share, "text": cell.text}
        for measure, values in cell.values.items():
            row[_column(measure)] = _with_deviation(_by_draw(measure, values))
        rows.append(row)
    return rows


def _by_draw(measure: str, values: Windows) -> list[float]:
    means = values.mean(axis=0).tolist()
    return [math.exp(mean) for mean in means] if _in_nats(measure) else means


def _in_nats(measure: str) -> bool:
    return measure == LOSS or "perplexity" in measure.split()


def _column(measure: str) -> str:
    return "sealed perplexity" if measure == LOSS else measure


def _with_deviation(draws: Sequence[float]) -> str:
    mean = f"{statistics.fmean(draws):.4g}"
    return mean if len(draws) < 2 else f"{mean} ± {statistics.stdev(draws):.2g}"


def depth_less_width(cells: Sequence[Cell]) -> dict[tuple[str, str], Contrast]:
    """By measure and share: the mean of depth schemes less that of width schemes."""
    found = {}
    for share in dict.fromkeys(cell.share for cell in cells):
        here = [cell for cell in cells if cell.share == share]
        sides = [[c for c in here if c.family == kind] for kind in ("depth", "width")]
        for measure in here[0].values if all(sides) else ():
            depth, width = (np.mean([c.values[measure] for c in side], 0) for side in sides)
            if one := contrast(depth - width):
                found[measure, share] = one
    return found


def texts_less_first(cells: Sequence[Cell]) -> dict[tuple[str, str], tuple[Contrast, float | None]]:
    """By measure and text: the text less the first, over all schemes and shares.

    Returns:
        The contrast, and the root of the mean variance over draws by that of the first text; None
        for the latter if the first does not vary.
    """
    texts = [text for text in dict.fromkeys(cell.text for cell in cells) if text]
    by_place = {(cell.scheme, cell.share, cell.text): cell for cell in cells}
    found = {}
    for text in texts[1:]:
        pairs = [
            (cell, by_place[cell.scheme, cell.share, texts[0]])
            for cell in cells
            if cell.text == text
        ]
        for measure in pairs[0][0].values if pairs else ():
            gaps = [own.values[measure] - first.values[measure] for own, first in pairs]
            spread = [
                math.fsum(np.var(side.values[measure].mean(axis=0), ddof=1) for side in sides)
                for sides in zip(*pairs, strict=True)
                if pairs[0][0].values[measure].shape[1] > 1
            ]
            steadier = math.sqrt(spread[0] / spread[1]) if spread and spread[1] else None
            if one := contrast(np.mean(gaps, axis=0)):
                found[measure, text] = one, steadier
    return found


def main() -> None:
    """Print both claims' contrasts of a record, and what they are made of."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path, help="folder that `compare --record` made")
    parser.add_argument("--measures", help="Holm's correction and contrasts of these, with commas")
    args = parser.parse_args()
    cells = cells_of(read_record(args.record))
    known = list(cells[0].values)
    wanted = known if args.measures is None else list(map(str.strip, args.measures.split(",")))
    if unknown := [measure for measure in wanted if measure not in known]:
        parser.error(f"the record has no measure {unknown[0]!r}; it has {', '.join(known)}")
    judged = [replace(c, values={m: c.values[m] for m in wanted}) for c in cells]
    families = depth_less_width(judged)
    texts = texts_less_first(judged)
    publish("study", f"Schemes and calibration texts of {args.record.name}", described(cells))
    if families:
        publish("study_families", "Depth less width, over all texts", _printed("share", families))
    if texts:
        alone = {place: one for place, (one, _) in texts.items()}
        ratios = ["-" if ratio is None else f"{ratio:.2f}" for _, ratio in texts.values()]
        rows = [
            {**row, "deviation over draws, by that of the first": ratio}
            for row, ratio in zip(_printed("text", alone), ratios, strict=True)
        ]
        publish("study_texts", "Each text less the first, over all schemes and shares", rows)


def _printed(where: str, found: Mapping[tuple[str, str], Contrast]) -> list[dict[str, Any]]:
    adjusted = holm([one.p for one in found.values()])
    rows = []
    for ((measure, place), one), p in zip(found.items(), adjusted, strict=True):
        low, high = one.interval()
        difference = f"{one.mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        row = {"measure": measure, where: place, "difference": difference}
        rows.append({**row, "p after Holm": p_value(p).strip()})
    return rows


if __name__ == "__main__":
    main()
