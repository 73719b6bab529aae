"""Tasks of a comparison: prepare it, measure one cell, write the tables."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autoprune.bench.text import SEALED, SELECTION
from autoprune.comparison.draws import require_different
from autoprune.comparison.measuring import needs_of, reads_text, require_divisible
from autoprune.comparison.methods import on_texts, parse_method, parse_methods
from autoprune.comparison.plan import Target, parse_targets
from autoprune.comparison.record import read_record, require_same, write_record
from autoprune.comparison.result import named_baselines
from autoprune.comparison.writing import require_replaceable, write_all
from autoprune.digest import digest_json, windows_digest
from autoprune.errors import AutopruneError, UsageError, reason_of
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.models.reference import read_from
from autoprune.numerics import computed_by, hardware
from autoprune.targets import check_apart
from autoprune.text.overlap import shared_text
from autoprune.text.windows import WINDOWS_VERSION, fewer_than_asked
from tasks.compare_bench import CompareBench
from tasks.compare_cells import found_or_measured, products_of
from tasks.compare_suites import check_suite_requests
from tasks.provenance import code_commit
from tasks.recorded import recorded, step
from tasks.sealed_looks import count_looks, standing

if TYPE_CHECKING:
    from autoprune.comparison.plan import Cell

log = logging.getLogger(__name__)

LONGEST_REASON = 300


@step("check comparison", "check methods")
def check_comparison(
    methods: list[str],
    statistics: Literal["dense", "sequential"],
    sparsities: list[float],
    patterns: list[str],
    baselines: list[str] | None = None,
    texts: Sequence[str] = (),
    units: dict[str, list[float]] | None = None,
) -> dict[str, Any]:
    """Parse every method, budget and baseline before anything expensive happens.

    Returns:
        Canonical names of methods and baselines, and JSON forms of the budgets.

    Raises:
        UsageError: If a method or a budget is wrong, or a baseline is not among the methods.
    """
    found = on_texts(parse_methods(methods, statistics), texts, reads_text)
    names = [method.name for method in found]
    targets = parse_targets(sparsities, patterns, units or {})
    return {
        "methods": names,
        "targets": [target.to_json() for target in targets],
        "baselines": named_baselines(baselines or [], names, statistics),
    }


def check_output(folder: str, model: str, *, overwrite: bool = False) -> None:
    """Refuse a folder whose files would be lost, before anything is loaded.

    Args:
        folder: Where the tables will go; other files in it stay.
        model: Reference of the model. Tables of the same model are updated.
        overwrite: Tables of another comparison may be replaced.

    Raises:
        UsageError: If the folder is the model's, or holds tables from elsewhere.
    """
    place = Path(folder)
    check_apart(place, [read_from(model)], may_hold=True)
    require_replaceable(place, model, overwrite=overwrite)


def prepare_comparison(
    bench: CompareBench, methods: list[str], targets: list[dict[str, Any]], seeds: int
) -> dict[str, Any]:
    """Load the model, split the text, and refuse early what could not be measured later.

    Args:
        bench: The comparison's bench.
        methods: Texts of the methods.
        targets: JSON form of the budgets.
        seeds: Calibration draws.

    Returns:
        The protocol: everything that the figures depend on besides the methods.

    Raises:
        UsageError: If the model has no blocks, a pattern does not divide a layer, the text is too
            short, or its draws would all be the same windows.
    """
    prepared = recorded("prepare comparison", f"prepare {bench.model_ref}", _prepared)
    return prepared(bench, methods, targets, seeds)


def _prepared(
    bench: CompareBench, methods: list[str], targets: list[dict[str, Any]], seeds: int
) -> dict[str, Any]:
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
    bench.draws.expected = frozenset[str]().union(
        *(needs_of(parse_method(text)) for text in methods)
    )
    check_suite_requests(bench)
    sizes = {name: len(bench.part(name)) for name in (SELECTION, SEALED)}
    texts = bench.texts
    there = [facts for facts in texts.values() if "reason" not in facts]
    draws = [digest for facts in there for digest in facts["draw_digests"]]
    # With named texts, nothing is calibrated on the own part, which may be as short as it likes.
    pools = [facts["pool"] for facts in there] or [len(bench.draws.pool(bench))]
    if not texts:
        draws = [windows_digest(bench.drawn_windows(seed)) for seed in range(seeds)]
    require_different(min(pools), bench.draws.samples, seeds)
    splits = bench.splits
    protocol = {
        **model_provenance(loaded),
        **model_protocol(loaded),
        "machine": hardware(),
        "commit": code_commit(),
        "blocks": layers[-1].block + 1,
        "prunable": bench.prunable,
        "corpus": bench.text.corpus,
        "split_seed": bench.text.split,
        "sealed_set": standing(bench.state, splits, bench.asked).to_json(),
        "splits_digest": splits.digest,
        "shared_documents": sum(1 for entry in splits.shared if entry.dropped),
        "overlap": shared_text(splits),
        "seqlen": bench.text.seqlen,
        "calibration_windows": bench.draws.samples,
        "calibration_pool": min(pools),
        "selection_windows": sizes["selection"],
        "sealed_windows": sizes["sealed"],
        "windows_version": WINDOWS_VERSION,
        "fewer_windows": fewer_than_asked(
            f"the sealed part of {bench.text.corpus}",
            sizes["sealed"],
            bench.text.counts[SEALED],
            bench.text.seqlen,
        ),
        "selection_digest": bench.digest("selection"),
        "sealed_digest": bench.digest("sealed"),
        "draw_digests": draws,
        **({"calibration_texts": texts} if texts else {}),
        "seeds": seeds,
        "suites": bench.suites,
        "precision": bench.precision,
        "products": products_of(bench),
        "computed_by": computed_by(),
        "seconds": time.monotonic() - started,
    }
    if bench.record is not None:
        require_same(bench.record, protocol)
    return protocol


def measure_cell(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    """Measure one cell, or find it among those measured before; a failing cell never raises.

    Returns:
        The main figures, and the id by which :func:`write_comparison` finds the whole record.
    """
    return recorded("measure cell", cell.title, cell_measured)(bench, cell)


def cell_measured(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    """:func:`measure_cell` without its own task run."""
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


def write_comparison(bench: CompareBench, folder: str, outline: dict[str, Any]) -> dict[str, Any]:
    """Turn records into rows and advice, and write all forms of the table.

    Args:
        bench: The comparison's bench.
        folder: Where the files go.
        outline: Model, protocol, and the ids of the records by cell.

    Returns:
        The comparison's JSON form with the names of the files.
    """
    return recorded("write comparison", f"write {folder}", _written)(bench, folder, outline)


def _written(bench: CompareBench, folder: str, outline: dict[str, Any]) -> dict[str, Any]:
    splits = bench.splits
    looks = count_looks(bench.state, splits.sealed.digest, splits.whole, splits.number)
    outline = outline | {"protocol": outline["protocol"] | {"sealed_touches": looks}}
    if bench.record is not None:
        # Made from the record, so that anyone who has the record can make the same tables.
        write_record(bench.record, with_places(bench, outline))
        body = read_record(bench.record)
    else:
        body = outline | {
            "dense": bench.records[outline["dense"]],
            "cells": [cell | {"record": bench.records[cell["id"]]} for cell in outline["cells"]],
        }
    made = write_all(Path(folder), body)
    bench.table = made | {name: body[name] for name in ("dense", "cells")}
    return made | ({"record": str(bench.record)} if bench.record is not None else {})


def with_places(bench: CompareBench, outline: dict[str, Any]) -> dict[str, Any]:
    """The outline of a comparison with the place of each cell instead of its record."""

    def place(identity: str) -> dict[str, Any]:
        record = bench.records[identity]
        if identity not in bench.kept:
            return {"failed": record}
        failed = {n: s for n, s in record.get("suites", {}).items() if "reason" in s}
        return {"kept": bench.kept[identity] | failed}

    return outline | {
        "dense": place(outline["dense"]),
        **{part: [c | place(c["id"]) for c in outline[part]] for part in ("cells", "trials")},
    }


def _reason(error: Exception) -> str:
    text = reason_of(error, LONGEST_REASON)
    if not isinstance(error, AutopruneError):
        text = f"{type(error).__name__}: {text}"
    return text[:LONGEST_REASON]
