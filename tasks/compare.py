"""Tasks of a comparison: make it ready, measure one cell, write the tables."""

import json
import logging
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autoprune.digest import digest_json
from autoprune.errors import AutopruneError, UsageError
from tasks.compare_bench import CompareBench, find_compare_bench, windows_digest
from tasks.overlap import shared_text
from tasks.policies import step
from tasks.provenance import commit
from tasks.sealed_touches import touch, touches

if TYPE_CHECKING:
    from autoprune.comparison.plan import Cell

log = logging.getLogger(__name__)

# Raised when a record or its key takes another form; what changes figures has a number of its own,
# autoprune.numerics.NUMERICS.
CELL_VERSION = 2
NOTES_KEPT = 5
LONGEST_REASON = 300


@step("check comparison", "check methods")
def check_comparison(
    methods: list[str],
    statistics: Literal["dense", "sequential"],
    sparsities: list[float],
    patterns: list[str],
) -> dict[str, Any]:
    """Read every method and budget before anything heavy happens.

    Returns:
        Canonical names of the methods, and JSON forms of the budgets.

    Raises:
        UsageError: If a method or a budget is wrong.
    """
    from autoprune.comparison.methods import parse_methods
    from autoprune.comparison.plan import parse_targets

    return {
        "methods": [method.name for method in parse_methods(methods, statistics)],
        "targets": [target.to_json() for target in parse_targets(sparsities, patterns)],
    }


def check_output(folder: str, model: str, *, overwrite: bool = False) -> None:
    """Refuse a folder whose files would be lost, before anything is loaded.

    Args:
        folder: Where the tables will go; other files in it stay.
        model: Reference of the model. Tables of the same model are brought up to date.
        overwrite: Tables of another comparison may be replaced.

    Raises:
        UsageError: If the folder is the model's, or holds files of these names from elsewhere.
    """
    from autoprune.comparison.writing import FILES, JSON_FILE
    from autoprune.models.reference import read_from
    from autoprune.targets import check_apart

    place = Path(folder)
    check_apart(place, [read_from(model)], may_hold=True)
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is a file; name a folder for the tables")
    there = [name for name in FILES if (place / name).exists()]
    if overwrite or not there:
        return
    try:
        found = json.loads((place / JSON_FILE).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != model:
        whose = "no comparison of ours" if found is None else f"a comparison of {found}"
        raise UsageError(
            f"the folder {place} holds {', '.join(there)} of {whose}; name another folder, or add "
            "--overwrite to replace them"
        )


@step("prepare comparison", "prepare {model}")
def prepare_comparison(
    bench_id: str, model: str, methods: list[str], targets: list[dict[str, Any]], seeds: int
) -> dict[str, Any]:
    """Load the model, split the text, and refuse now what could not be measured later.

    Args:
        bench_id: Id of an open comparison workbench.
        model: Reference of the model, for the task's name.
        methods: Texts of the methods.
        targets: JSON form of the budgets.
        seeds: Calibration draws.

    Returns:
        The protocol: all that the figures depend on besides the methods.

    Raises:
        UsageError: If the model has no blocks, a pattern does not divide a layer, the text is too
            short, or its draws would all be the same windows.
    """
    from autoprune.comparison.draws import require_different
    from autoprune.comparison.measuring import needs_of, require_divisible
    from autoprune.comparison.methods import parse_method
    from autoprune.comparison.plan import Target
    from autoprune.evaluation.suites.provenance import machine, model_protocol, model_provenance

    bench = find_compare_bench(bench_id)
    started = time.monotonic()
    budgets = [Target(**target) for target in targets]
    loaded = bench.loaded
    try:
        layers = bench.layers
    except UsageError:
        raise
    except AutopruneError as error:
        raise UsageError(str(error)) from error
    require_divisible(layers, budgets)
    bench.expected = frozenset[str]().union(*(needs_of(parse_method(text)) for text in methods))
    sizes = {name: len(bench.part(name)) for name in ("selection", "sealed")}
    draws = [windows_digest(bench.drawn(seed)) for seed in range(seeds)]
    require_different(len(bench.pool), bench.samples, seeds)
    splits = bench.splits
    return {
        **model_provenance(loaded),
        **model_protocol(loaded),
        "machine": machine(),
        "commit": _commit(),
        "blocks": layers[-1].block + 1,
        "prunable": bench.prunable,
        "corpus": bench.corpus,
        "split_seed": bench.seed,
        "splits_digest": splits.digest,
        "shared_documents": sum(1 for entry in splits.shared if entry.dropped),
        "overlap": shared_text(splits),
        "seqlen": bench.seqlen,
        "calibration_windows": bench.samples,
        "calibration_pool": len(bench.pool),
        "selection_windows": sizes["selection"],
        "sealed_windows": sizes["sealed"],
        "selection_digest": bench.digest("selection"),
        "sealed_digest": bench.digest("sealed"),
        "draw_digests": draws,
        "seeds": seeds,
        "seconds": time.monotonic() - started,
    }


@step("measure cell", "{title}")
def measure_cell(bench_id: str, title: str, cell: dict[str, Any]) -> dict[str, Any]:
    """Measure one cell, or find it among those measured before; never raises for the cell's sake.

    Args:
        bench_id: Id of an open comparison workbench.
        title: The cell in words, for the task's name.
        cell: JSON form of the cell.

    Returns:
        The figures in short, and the id by which :func:`write_comparison` finds the whole record.
    """
    from autoprune.comparison.plan import Cell

    bench = find_compare_bench(bench_id)
    started = time.monotonic()
    cached = False
    try:
        record, cached = _found_or_measured(bench, Cell.from_json(cell))
    except Exception as error:
        log.info("%s: %s", title, error, exc_info=not isinstance(error, AutopruneError))
        record = {"status": "unavailable", "reason": _reason(error)}
    identity = digest_json(cell)
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


@step("write comparison", "write {folder}")
def write_comparison(bench_id: str, folder: str, outline: dict[str, Any]) -> dict[str, Any]:
    """Turn records into rows and advice, and write all forms of the table.

    Args:
        bench_id: Id of an open comparison workbench.
        folder: Where the files go.
        outline: Model, protocol, and the ids of the records by cell.

    Returns:
        The comparison's JSON form with the files' names.
    """
    from autoprune.comparison.writing import write_all

    bench = find_compare_bench(bench_id)
    looks = touches(bench.state, bench.splits.sealed.digest, bench.splits.whole)
    body = outline | {
        "protocol": outline["protocol"] | {"sealed_touches": looks},
        "dense": bench.records[outline["dense"]],
        "cells": [cell | {"record": bench.records[cell["id"]]} for cell in outline["cells"]],
    }
    return write_all(Path(folder), body)


def cell_key(bench: CompareBench, cell: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides the figures of a cell.

    Args:
        bench: The comparison's workbench.
        cell: JSON form of the cell.

    Raises:
        AutopruneError: If the cell cannot be measured at all.
    """
    from autoprune.comparison.plan import Cell

    return _key(bench, Cell.from_json(cell))


def note_look(bench: CompareBench, key: dict[str, Any], title: str) -> None:
    """Count the look that a cell takes at the sealed windows; the same cell counts once."""
    look = f"comparison {digest_json(key)[:16]} {title}"
    touch(bench.state, bench.splits.sealed.digest, look, bench.splits.whole)


def _found_or_measured(bench: CompareBench, cell: "Cell") -> tuple[dict[str, Any], bool]:
    key = _key(bench, cell)
    known = bench.cells.find(key)
    if known is not None:
        return known, True
    record = _measure(bench, cell)
    bench.cells.keep(key, record)
    return record, False


def _key(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    """Everything that decides a cell's figures."""
    from autoprune.comparison.measuring import plan_of, reads_text
    from autoprune.comparison.peer import peer_version
    from autoprune.numerics import computed_by

    draw = seed = peer = None
    if cell.method is not None and cell.target is not None:
        if cell.method.peer is None:
            plan_of(cell.method, cell.target, cell.seed)
        else:
            peer = peer_version(bench.peers.get(cell.method.peer))
        if reads_text(cell.method):
            draw = windows_digest(bench.drawn(cell.seed))
        seed = cell.seed if cell.method.stochastic else None
    return {
        "kind": "comparison cell",
        "version": CELL_VERSION,
        **computed_by(),
        "model": bench.loaded.source.digest,
        "dtype": str(bench.loaded.model.dtype),
        "device": bench.loaded.model.device.type,
        "method": None if cell.method is None else cell.method.to_json(),
        "target": None if cell.target is None else cell.target.to_json(),
        "peer": peer,
        "draw": draw,
        "seed": seed,
        "selection": bench.digest("selection"),
        "sealed": bench.digest("sealed") if cell.sealed else None,
    }


def _measure(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    from autoprune.comparison.measuring import evaluation_json
    from autoprune.evaluation.perplexity import evaluate_windows

    record: dict[str, Any] = {
        "status": "ok",
        "title": cell.title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "zeros": 0,
        "prunable": bench.prunable,
        "prune_seconds": 0.0,
        "notes": [],
        "note_count": 0,
        "mask_digest": None,
    }
    with bench.dense if cell.method is not None else nullcontext():
        if cell.method is not None:
            record |= _prune(bench, cell)
        model = bench.loaded.model
        found = evaluate_windows(model, bench.part("selection"), report=bench.report)
        record["selection"] = evaluation_json(found)
        if cell.sealed:
            note_look(bench, _key(bench, cell), cell.title)
            found = evaluate_windows(model, bench.part("sealed"), report=bench.report)
            record["sealed"] = evaluation_json(found)
    return record


def _prune(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    from autoprune.comparison.measuring import prune_by
    from autoprune.comparison.peer import prune_by_peer

    method, target = cell.method, cell.target
    assert method is not None and target is not None
    if method.peer is not None:
        outcome = prune_by_peer(
            method,
            target,
            python=bench.peers[method.peer],
            copy=bench.peer_model,
            layers=bench.layers,
            windows=bench.drawn(cell.seed),
        )
    else:
        draw = bench.draw(cell.seed)
        outcome = prune_by(
            method,
            target,
            cell.seed,
            loaded=bench.loaded,
            layers=bench.layers,
            windows=draw.windows,
            shared=draw.shared,
            context=draw.context,
            report=bench.report,
        )
    return {
        "zeros": outcome.zeros,
        "prune_seconds": outcome.seconds,
        "mask_digest": outcome.mask_digest,
        "notes": list(outcome.notes[:NOTES_KEPT]),
        "note_count": len(outcome.notes),
    }


def _commit() -> str | None:
    """Commit of the program's source, with a word where it was changed; None when installed."""
    known = commit()
    if not known:
        return None
    return known["git.commit"] + (" with changes" if known["git.dirty"] == "true" else "")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, AutopruneError):
        text = f"{type(error).__name__}: {text}"
    return text[:LONGEST_REASON]
