"""Measures the cells of a comparison, each once: what is kept of them is found again."""

import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from autoprune.bench.text import SEALED, SELECTION
from autoprune.comparison.cell_keys import cell_key
from autoprune.comparison.measuring import prune_cell
from autoprune.comparison.peer import prune_by_peer
from autoprune.comparison.scheme_cells import same_removed, shrunk
from autoprune.comparison.sizes import saved_bytes
from autoprune.comparison.suites import (
    is_whole,
    measure_suites,
    prepare_suites,
    suite_keys,
    wants_distance,
)
from autoprune.digest import digest_json
from autoprune.errors import AutopruneError, reason_of
from autoprune.numerics import hardware
from autoprune.schemes import skipped_computations

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench
    from autoprune.comparison.plan import Cell

log = logging.getLogger(__name__)

NOTES_KEPT = 5
LONGEST_REASON = 300


def cell_measured(bench: "ComparisonBench", cell: "Cell") -> dict[str, Any]:
    """Measure one cell, or find it among those measured before; a failing cell never raises."""
    started = time.monotonic()
    cached = False
    try:
        record, cached = found_or_measured(bench, cell)
    except Exception as error:
        log.info("%s: %s", cell.title, error, exc_info=not isinstance(error, AutopruneError))
        record = {"status": "unavailable", "reason": _reason(error)}
    identity = digest_json(cell.to_json())
    bench.records[identity] = record
    return {
        "id": identity,
        "status": record["status"],
        "reason": record.get("reason"),
        "cached": cached,
        "selection": record.get("selection", {}).get("perplexity"),
        "sealed": record.get("sealed", {}).get("perplexity"),
        "seconds": time.monotonic() - started,
    }


def note_look(bench: "ComparisonBench", key: dict[str, Any], title: str) -> None:
    """Count a cell's look at the sealed windows; the same cell counts once."""
    splits = bench.splits
    bench.looks.noting(_look(key, title))(splits.sealed.digest, splits.whole, splits)


def _look(key: dict[str, Any], title: str) -> str:
    return f"comparison {digest_json(key)[:16]} {title}"


def keep_cell(bench: "ComparisonBench", cell: "Cell", record: dict[str, Any]) -> None:
    """Keep a measured cell and its suites, each under its own key."""
    key = cell_key(bench, cell)
    found = dict(record)
    suites = found.pop("suites", {})
    bench.cells.keep(key, found)
    _keep_suites(bench, key, suites)
    _note_places(bench, cell, record)


def _keep_suites(bench: "ComparisonBench", key: dict[str, Any], suites: dict[str, Any]) -> None:
    for name, own in suite_keys(bench, key).items():
        if is_whole(suites.get(name, {})):
            bench.cells.keep(own, suites[name])


def is_kept(bench: "ComparisonBench", cell: "Cell") -> bool:
    """Whether no part of a cell still needs measuring."""
    keys = [cell_key(bench, cell)]
    if cell.sealed:
        keys += suite_keys(bench, keys[0]).values()
    return all(bench.cells.has(key) for key in keys)


def found_or_measured(bench: "ComparisonBench", cell: "Cell") -> tuple[dict[str, Any], bool]:
    """A cell's record, kept or measured now, and whether all of it had been kept."""
    key = cell_key(bench, cell)
    known = bench.cells.find(key)
    keys = suite_keys(bench, key) if cell.sealed else {}
    suites = {name: bench.cells.find(own) for name, own in keys.items()}
    missing = [name for name, found in suites.items() if found is None]
    if known is None or missing:
        try:
            record = _measure(bench, cell, known, missing)
        except Exception as error:
            if known is None:
                raise
            # The kept figures stand, whatever became of further suites.
            log.info("%s", cell.title, exc_info=not isinstance(error, AutopruneError))
            reason = reason_of(error)
            record = known | {"suites": {name: {"reason": reason} for name in missing}}
        suites |= record.pop("suites", {})
    else:
        record = known
        if cell.sealed:
            note_look(bench, key, cell.title)
    whole = record | ({"suites": suites} if suites else {})
    keep_cell(bench, cell, whole)
    return whole, known is not None and not missing


def _note_places(bench: "ComparisonBench", cell: "Cell", record: dict[str, Any]) -> None:
    key = cell_key(bench, cell)
    places = {"": digest_json(key)}
    for name, own in suite_keys(bench, key).items():
        if is_whole(record.get("suites", {}).get(name, {})):
            places[name] = digest_json(own)
    bench.kept[digest_json(cell.to_json())] = places


def _measure(
    bench: "ComparisonBench",
    cell: "Cell",
    known: dict[str, Any] | None = None,
    suites: list[str] | None = None,
) -> dict[str, Any]:
    """Prune and measure what is not known yet: losses and suites."""
    prepare_suites(bench, suites or [])
    distance: tuple[float, ...] = ()
    key = cell_key(bench, cell)
    record: dict[str, Any] = {"zeros": 0, "prune_seconds": 0.0, "mask_digest": None, "notes": []}
    record["note_count"] = 0
    with ExitStack() as stack:
        if cell.method is not None and cell.method.scheme:
            record |= stack.enter_context(shrunk(bench, cell))
        elif cell.method is not None:
            stack.enter_context(bench.dense)
            record |= _prune(bench, cell)
        if known is None:
            losses, distance = _losses(bench, cell, key, suites or [])
            record = _facts(bench, cell) | record | losses
        elif not same_removed(record, known):
            kept = " and ".join(map(str, bench.cells.paths(key)))
            raise AutopruneError(
                f"{cell.title}: pruned again for further suites, its masks differ from those of "
                f"the kept figures; delete {kept} and measure both again"
            )
        else:
            record = dict(known)
        if suites:
            note_look(bench, key, cell.title)
            look = _look(key, cell.title)
            # A suite may take hours, and nothing that is measured is lost with it. How much a
            # model skips is known only at the end.
            if skipped_computations(bench.loaded.model) is None:
                bench.cells.keep(key, record)
            keep = partial(_keep_suites, bench, key)
            record["suites"] = measure_suites(bench, suites, look, distance, keep)
    return record


def _facts(bench: "ComparisonBench", cell: "Cell") -> dict[str, Any]:
    return {
        "status": "ok",
        "title": cell.title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": bench.commit,
        "machine": hardware(),
        "prunable": bench.prunable,
    }


def _losses(
    bench: "ComparisonBench", cell: "Cell", key: dict[str, Any], suites: list[str]
) -> tuple[dict[str, Any], tuple[float, ...]]:
    """Losses, and from the same passes the distance to the dense model if a suite wants it."""
    made: dict[str, Any] = {"selection": bench.evaluate(SELECTION).to_json()}
    if not cell.sealed:
        return made, ()
    made["bytes"] = saved_bytes(bench.loaded)
    note_look(bench, key, cell.title)
    found = bench.evaluate(SEALED, kl=wants_distance(bench, suites))
    return made | {"sealed": found.to_json()}, found.kl


def _prune(bench: "ComparisonBench", cell: "Cell") -> dict[str, Any]:
    method, target = cell.method, cell.target
    assert method is not None and target is not None
    draw = bench.draw_of(cell)
    if method.peer is not None:
        outcome = prune_by_peer(
            method,
            target,
            python=bench.peers[method.peer],
            copy=bench.peer_model,
            layers=bench.layers,
            windows=bench.drawn_windows(draw),
        )
    else:
        outcome = prune_cell(bench, method, target, bench.chance(cell), draw, bench.precision)
    return {
        "zeros": outcome.zeros,
        "prune_seconds": outcome.seconds,
        "mask_digest": outcome.mask_digest,
        "notes": list(outcome.notes[:NOTES_KEPT]),
        "note_count": len(outcome.notes),
    }


def _reason(error: Exception) -> str:
    return reason_of(error, LONGEST_REASON, named=not isinstance(error, AutopruneError))
