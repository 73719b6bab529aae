"""What decides the figures of a cell: the key under which it is kept."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoprune.bench.smaller import Shrinking
from autoprune.bench.text import SEALED, SELECTION
from autoprune.comparison.measuring import plan_of, reads_text
from autoprune.comparison.peer import peer_version
from autoprune.digest import windows_digest
from autoprune.numerics import computed_by, hardware
from autoprune.precision import type_name
from autoprune.pruning.products import products_type
from autoprune.schemes import parts_of

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench
    from autoprune.comparison.methods import Method
    from autoprune.comparison.plan import Cell

# Incremented when a record or its key changes form; what changes figures has its own number,
# autoprune.numerics.NUMERICS.
CELL_VERSION = 3


def products_of(bench: "ComparisonBench") -> str:
    """Type of the matrix products of block tuning on this machine."""
    model = bench.loaded.model
    found = products_type(model.device, model.dtype, bench.precision)
    return type_name(found)


def cell_key(bench: "ComparisonBench", cell: "Cell") -> dict[str, Any]:
    """Everything that decides a cell's figures."""
    draw = seed = peer = fresh = None
    # How much a scheme removes to reach a speed is timed, and is another share elsewhere.
    timed = {"machine": hardware()} if cell.target is not None and cell.target.timed else {}
    if cell.method is not None and cell.target is not None:
        count = 0
        if cell.method.scheme:
            _ = cell.target.budget
            count = Shrinking.parse(cell.method.scheme).fresh_windows
        elif cell.method.peer is None:
            plan = plan_of(cell.method, cell.target, bench.chance(cell))
            count = plan.repair.fresh_windows
        else:
            peer = peer_version(bench.peers.get(cell.method.peer))
        if reads_text(cell.method):
            draw = windows_digest(bench.drawn_windows(bench.draw_of(cell)))
        fresh = bench.fresh_windows(count, bench.draw_of(cell))
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
        # Only where a recovery reads them, so that other cells keep their keys.
        **({} if fresh is None else {"fresh": windows_digest(fresh)}),
        "seed": seed,
        "selection": bench.digest(SELECTION),
        "sealed": bench.digest(SEALED) if cell.sealed else None,
        **timed,
    }


def scheme_versions(method: "Method | None") -> dict[str, Any]:
    """What a cell's key adds for schemes whose figures have changed; nothing for all others."""
    if method is None or not method.scheme:
        return {}
    parts = parts_of(Shrinking.parse(method.scheme).scheme)
    changed = {part.NAME: part.VERSION for part in parts if part.VERSION}
    return {"schemes": changed} if changed else {}
