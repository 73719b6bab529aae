"""Raw records of measurements: losses per window by method, budget and draw, or scores of steps."""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.comparison.plan import Target
from autoprune.digest import digest_file, digest_json

Windows = NDArray[np.float64]
COMPARISON = "autoprune comparison"
LOSSES = "autoprune losses"
SCORES = "autoprune scores"
FORECASTS = "autoprune forecasts"
SEARCHES = "autoprune searches"
COUNTS = "autoprune counts"
# What every record says of how it was made, at the top or in its protocol.
ORIGIN = ("command", "commit", "machine", "date")
DENSE = "dense"
# A record is public: no folder of the machine that made it, spelled so that no file finds itself.
_MACHINE_PATH = re.compile(r"/(?:work" + r"/|root" + r"/|home/[a-z])")


class EvidenceError(Exception):
    """A record, its figures or a document that names them is wrong; says where and how."""


@dataclass(frozen=True)
class Record:
    """What was measured.

    Args:
        folder: Where it lies.
        body: ``record.json``.
        losses: Loss of each window, nats per token, by method and budget and then by draw. The
            dense model is the method ``dense`` with the budget "" and the draw 0.
        cells: Further facts of the same cells: selection text, zeros, seconds, rows of suites.
        scores: Score of each step by verifier, for each solution; and under ``right`` the labels.
        hits: Whether each answered forecast came true, by what the question showed.
        firsts: Whether each answer was the recipe shown first, by the same.
        searches: What came out of each search, by arm and seed.
        counts: Numbers that were counted, under names.
    """

    folder: Path
    body: Mapping[str, Any]
    losses: Mapping[tuple[str, str], Mapping[int, Windows]]
    cells: Mapping[tuple[str, str], Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)
    scores: Mapping[str, list[list[float]]] = field(default_factory=dict)
    hits: Mapping[str, list[bool]] = field(default_factory=dict)
    firsts: Mapping[str, list[bool]] = field(default_factory=dict)
    searches: Mapping[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)

    def of(self, method: str, budget: str) -> Mapping[int, Windows]:
        """Losses by draw.

        Raises:
            EvidenceError: If the record does not hold them; names what it holds.
        """
        key = (method, "" if method == DENSE else budget)
        if key not in self.losses:
            known = ", ".join(sorted(f"{m} at {b}" if b else m for m, b in self.losses))
            raise EvidenceError(f"{self.folder.name} holds no {method} at {budget}; it has {known}")
        return self.losses[key]


def read_searches(*folders: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What came out of the searches of several records, by arm and seed.

    Raises:
        EvidenceError: If two records hold the same arm and seed.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for folder in folders:
        for place, one in read_record(folder).searches.items():
            if place in found:
                arm, seed = place
                raise EvidenceError(f"{folder.name} has another search of {arm} with seed {seed}")
            found[place] = dict(one)
    return found


def read_record(folder: Path) -> Record:
    """A record from its folder, every digest checked.

    Raises:
        EvidenceError: If a file is missing, damaged, or says nothing of its origin.
    """
    body = read_json(folder / "record.json")
    known = {**body.get("protocol", {}), **body}
    missing = [name for name in ORIGIN if not known.get(name)]
    if missing:
        raise EvidenceError(f"{folder.name}/record.json lacks {', '.join(missing)}")
    for path in sorted(folder.rglob("*.json*")):
        if _MACHINE_PATH.search(_text(path)):
            raise EvidenceError(f"{path.relative_to(folder.parent)} names a folder of a machine")
    for name, digest in body.get("files", {}).items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise EvidenceError(f"{folder.name}/{name} is missing or not what was recorded")
    kind = body.get("format")
    if kind == COMPARISON:
        return _comparison(folder, body)
    if kind == LOSSES:
        return _plain(folder, body)
    if kind == SCORES:
        found = read_json(folder / "scores.json")
        return Record(folder, body, {}, scores={**found["scores"], "right": found["right"]})
    if kind == FORECASTS:
        found = read_json(folder / "forecasts.json")
        given = found["answers"].items()
        firsts = {shown: [a == "A" for a in own if a is not None] for shown, own in given}
        return Record(folder, body, {}, hits=_hits(found), firsts=firsts)
    if kind == SEARCHES:
        made = read_json(folder / "searches.json")["searches"]
        return Record(folder, body, {}, searches={(one["arm"], one["seed"]): one for one in made})
    if kind == COUNTS:
        return Record(folder, body, {}, counts=read_json(folder / "counts.json"))
    raise EvidenceError(
        f"{folder.name}/record.json has the format {kind!r}; known: {COMPARISON}, {LOSSES}, "
        f"{SCORES}, {FORECASTS}, {SEARCHES}, {COUNTS}"
    )


def _text(path: Path) -> str:
    """What stands in a file, packed or not."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")


def _hits(found: Mapping[str, Any]) -> dict[str, list[bool]]:
    truths = [pair["better"] for pair in found["pairs"]]
    return {
        context: [a == truth for a, truth in zip(answers, truths, strict=True) if a is not None]
        for context, answers in found["answers"].items()
    }


def _comparison(folder: Path, body: Mapping[str, Any]) -> Record:
    """As ``autoprune compare --record`` writes it; cells that failed have no losses."""
    losses: dict[tuple[str, str], dict[int, Windows]] = {}
    cells: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    dense = {"method": DENSE, "target": None, "seed": 0, **body["dense"]}
    for cell in (dense, *body["cells"]):
        if "kept" not in cell:
            continue
        found = _cell(folder, cell["kept"][""])
        # A suite that failed has its reason in the place of a digest.
        suites = {
            name: _cell(folder, place)
            for name, place in cell["kept"].items()
            if name and isinstance(place, str)
        }
        key = (cell["method"], "" if cell["target"] is None else label_of(cell["target"]))
        losses.setdefault(key, {})[cell["seed"]] = as_windows(found["sealed"]["nll"])
        cells.setdefault(key, {})[cell["seed"]] = {**found, "suites": suites}
    return Record(folder, body, losses, cells)


def _cell(folder: Path, digest: str) -> Mapping[str, Any]:
    path = folder / "cells" / digest[:2] / f"{digest}.json"
    kept = read_json(path)
    if digest_json(kept["record"]) != kept["sha256"] or digest_json(kept["key"]) != digest:
        raise EvidenceError(f"{folder.name}: the cell {digest[:16]} is not what was recorded")
    found: Mapping[str, Any] = kept["record"]
    return found


def _plain(folder: Path, body: Mapping[str, Any]) -> Record:
    """Losses: ``{METHOD: {BUDGET: {DRAW: [nats]}}}``, and ``dense: [nats]``; counts, if any."""
    found = read_json(folder / "losses.json")
    losses: dict[tuple[str, str], dict[int, Windows]] = {}
    if DENSE in found:
        losses[DENSE, ""] = {0: as_windows(found[DENSE])}
    for method, budgets in found["methods"].items():
        for budget, draws in budgets.items():
            losses[method, budget] = {int(n): as_windows(nll) for n, nll in draws.items()}
    counted = folder / "counts.json"
    return Record(folder, body, losses, counts=read_json(counted) if counted.is_file() else {})


def label_of(target: Mapping[str, Any]) -> str:
    """A budget as documents write it: ``60 %``, ``2:4`` or ``25 % of the bytes``."""
    return Target(**target).label


def as_windows(values: Any) -> Windows:
    """Losses of a record; null stands for infinite."""
    return np.array([np.inf if value is None else value for value in values], np.float64)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        EvidenceError: If it is not there or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{path.parent.name}/{path.name} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise EvidenceError(f"{path.parent.name}/{path.name} is not a JSON object")
    return found
