"""Cells of a comparison: their keys, what is kept of them, and how one is measured."""

import logging
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from autoprune.bench.text import SEALED, SELECTION
from autoprune.comparison.measuring import evaluation_json, plan_of, prune_cell, reads_text
from autoprune.comparison.peer import peer_version, prune_by_peer
from autoprune.comparison.sizes import saved_bytes
from autoprune.digest import digest_json, windows_digest
from autoprune.errors import AutopruneError, reason_of
from autoprune.numerics import computed_by, hardware
from autoprune.pruning.products import products_type
from autoprune.schemes import skipped_computations
from tasks.compare_bench import CompareBench
from tasks.compare_scheme import same_removed, scheme_versions, shrunk
from tasks.compare_suites import (
    is_whole,
    measure_suites,
    prepare_suites,
    suite_keys,
    wants_distance,
)
from tasks.provenance import code_commit
from tasks.sealed_looks import record_look

if TYPE_CHECKING:
    from autoprune.comparison.plan import Cell

log = logging.getLogger(__name__)

# Incremented when a record or its key changes form; what changes figures has its own number,
# autoprune.numerics.NUMERICS.
CELL_VERSION = 3
NOTES_KEPT = 5


def note_look(bench: CompareBench, key: dict[str, Any], title: str) -> None:
    """Count a cell's look at the sealed windows; the same cell counts once."""
    splits = bench.splits
    record_look(
        bench.state, splits.sealed.digest, _look(key, title), splits.whole,
        kind="compare", splits=splits, command=bench.asked,
    )  # fmt: skip


def _look(key: dict[str, Any], title: str) -> str:
    return f"comparison {digest_json(key)[:16]} {title}"


def keep_cell(bench: CompareBench, cell: "Cell", record: dict[str, Any]) -> None:
    """Keep a measured cell and its suites, each under its own key."""
    key = cell_key(bench, cell)
    found = dict(record)
    suites = found.pop("suites", {})
    bench.cells.keep(key, found)
    _keep_suites(bench, key, suites)
    _note_places(bench, cell, record)


def _keep_suites(bench: CompareBench, key: dict[str, Any], suites: dict[str, Any]) -> None:
    for name, own in suite_keys(bench, key).items():
        if is_whole(suites.get(name, {})):
            bench.cells.keep(own, suites[name])


def is_kept(bench: CompareBench, cell: "Cell") -> bool:
    """Whether no part of a cell still needs measuring."""
    keys = [cell_key(bench, cell)]
    if cell.sealed:
        keys += suite_keys(bench, keys[0]).values()
    return all(bench.cells.has(key) for key in keys)


def found_or_measured(bench: CompareBench, cell: "Cell") -> tuple[dict[str, Any], bool]:
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
    whole = record | ({"suites": suites} if suites else {})
    keep_cell(bench, cell, whole)
    return whole, known is not None and not missing


def _note_places(bench: CompareBench, cell: "Cell", record: dict[str, Any]) -> None:
    key = cell_key(bench, cell)
    places = {"": digest_json(key)}
    for name, own in suite_keys(bench, key).items():
        if is_whole(record.get("suites", {}).get(name, {})):
            places[name] = digest_json(own)
    bench.kept[digest_json(cell.to_json())] = places


def products_of(bench: CompareBench) -> str:
    """Type of the matrix products of block tuning on this machine."""
    model = bench.loaded.model
    found = products_type(model.device, model.dtype, bench.precision)
    return str(found).removeprefix("torch.")


def cell_key(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    """Everything that decides a cell's figures.

    Raises:
        AutopruneError: If the cell cannot be measured at all.
    """
    draw = seed = peer = None
    # How much a scheme removes to reach a speed is timed, and is another share elsewhere.
    timed = {"machine": hardware()} if cell.target is not None and cell.target.timed else {}
    if cell.method is not None and cell.target is not None:
        if cell.method.scheme:
            _ = cell.target.budget
        elif cell.method.peer is None:
            plan_of(cell.method, cell.target, bench.chance(cell))
        else:
            peer = peer_version(bench.peers.get(cell.method.peer))
        if reads_text(cell.method):
            draw = windows_digest(bench.drawn_windows(bench.draw_of(cell)))
        seed = bench.chance(cell) if cell.method.stochastic else None
    return {
        "kind": "comparison cell",
        "version": CELL_VERSION,
        **computed_by(),
        **scheme_versions(cell.method),
        "model": bench.loaded.source.digest,
        "dtype": str(bench.loaded.model.dtype),
        "device": bench.loaded.model.device.type,
        # The draw's windows stand for its calibration text.
        "method": None if cell.method is None else replace(cell.method, calibration="").to_json(),
        "target": None if cell.target is None else cell.target.to_json(),
        "peer": peer,
        # For tuning only: nothing else is rounded, whatever the processor supports.
        "products": products_of(bench) if cell.method is not None and cell.method.tunes else None,
        "draw": draw,
        "seed": seed,
        "selection": bench.digest("selection"),
        "sealed": bench.digest("sealed") if cell.sealed else None,
        **timed,
    }


def _measure(
    bench: CompareBench,
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
                f"the kept figures; delete {kept} and measure both anew"
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


def _facts(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    return {
        "status": "ok",
        "title": cell.title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code_commit(),
        "machine": hardware(),
        "prunable": bench.prunable,
    }


def _losses(
    bench: CompareBench, cell: "Cell", key: dict[str, Any], suites: list[str]
) -> tuple[dict[str, Any], tuple[float, ...]]:
    """Losses, and from the same passes the distance to the dense model if a suite wants it."""
    made: dict[str, Any] = {"selection": evaluation_json(bench.evaluate(SELECTION))}
    if not cell.sealed:
        return made, ()
    made["bytes"] = saved_bytes(bench.loaded)
    note_look(bench, key, cell.title)
    found = bench.evaluate(SEALED, kl=wants_distance(bench, suites))
    return made | {"sealed": evaluation_json(found)}, found.kl


def _prune(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
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
