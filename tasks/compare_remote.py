"""A comparison's cells in other processes: what a worker opens, and what it sends back.

The workbench of a worker is opened once per process, by the digest of its config. A finished cell
is kept in the state folder that the worker shares with the comparison. Its record also comes back
with the answer, for workers on other machines.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.bench.bench import Bench
from autoprune.comparison.cell_keys import cell_key
from autoprune.comparison.measure_cells import cell_measured, is_kept, keep_cell, note_look
from autoprune.comparison.plan import Cell
from autoprune.digest import digest_json
from autoprune.errors import AutopruneError
from autoprune.numerics import computed_by
from autoprune.progress import silent
from tasks.compare_bench import CompareBench
from tasks.state import State
from tasks.switches import DEVICE_VARIABLE
from tasks.workbench import Workbench

# Purpose named in a config; the config of a search names none.
COMPARISON = "comparison"


def common_config(bench: Workbench | CompareBench) -> dict[str, Any]:
    """What other processes need to open a workbench like this one, as plain JSON."""
    import torch

    return {
        "root": str(bench.state.root),
        "model": bench.model_ref,
        "model_digest": bench.loaded.source.digest,
        "seed": bench.seed,
        "dtype": bench.dtype,
        # Only if it was named; else each machine computes on what it has.
        "device": os.environ.get(DEVICE_VARIABLE),
        # Sums depend on the number of threads that share them; the same number, the same figures.
        "threads": torch.get_num_threads(),
        "computed_by": computed_by(),
    }


def comparison_config(bench: CompareBench) -> dict[str, Any]:
    """What another process needs to open the same workbench, as plain JSON."""
    return common_config(bench) | {
        "kind": COMPARISON,
        "bench": {
            "corpus": bench.text.corpus,
            "calibration_windows": bench.draws.samples,
            "seqlen": bench.text.seqlen,
            "counts": bench.text.counts,
            "text_split": bench.text.split,
            "asked": bench.asked,
            "expected": sorted(bench.draws.expected),
            "peers": bench.peers,
            "suites": bench.suites,
            "own_distance": bench.own_distance,
            "precision": bench.precision,
            "texts": bench.draws.texts,
            "draws": bench.draw_count,
        },
        "text_draws": text_draws(bench),
        "parts": {name: bench.digest(name) for name in bench.text.counts},
    }


def comparison_bench(state: State, config: Mapping[str, Any]) -> CompareBench:
    """The workbench of a config; nothing is loaded yet."""
    place = (config["model"], state, config["seed"], silent, config["dtype"])
    return CompareBench(*place, **config["bench"])


def text_draws(bench: CompareBench) -> dict[str, list[str]]:
    """Digests of the draws of each named text; none for a text that is missing."""
    return {name: facts.get("draw_digests", []) for name, facts in bench.texts.items()}


def require_same_work(bench: Bench, config: Mapping[str, Any]) -> None:
    """Check that a worker uses the same versions and windows as the comparison or search."""
    here, run = computed_by(), config.get("kind", "search")
    for name, wanted in config["computed_by"].items():
        if here[name] != wanted:
            raise AutopruneError(
                f"this worker computes by {name} {here[name]} and the {run} by {wanted}; "
                "install the same on every machine"
            )
    for name, digest in config["parts"].items():
        if bench.digest(name) != digest:
            raise AutopruneError(
                f"the {name} windows of {bench.text.corpus} on this worker are not those of the "
                f"{run} (digest differs); give every machine the same text and tokenizer"
            )
    draws = text_draws(bench) if isinstance(bench, CompareBench) else {}
    for name, digests in draws.items():
        if digests != config["text_draws"][name]:
            raise AutopruneError(
                f"the draws of the calibration text {name} on this worker are not those of the "
                "comparison (digest differs); give every machine the same text"
            )


def remote_cell(bench: CompareBench, title: str, cell: dict[str, Any]) -> dict[str, Any]:
    """Measure a cell on a worker."""
    asked = Cell.from_json(cell)
    found = cell_measured(bench, asked)
    record = bench.records.pop(found["id"])
    key = cell_key(bench, asked) if record["status"] == "ok" else None
    return found | {"record": record, "key": key}


def waiting(bench: CompareBench, cells: Sequence[Cell]) -> list[str | None]:
    """Digest of each cell's key if the cell must still be measured, else None.

    A cell that would fail at once with a reason also gives None, so that it fails here.
    """
    found: list[str | None] = []
    for cell in cells:
        try:
            known = is_kept(bench, cell)
            found.append(None if known else digest_json(cell_key(bench, cell)))
        except AutopruneError:
            found.append(None)
    return found


def take_cell(bench: CompareBench, cell: Cell, answer: dict[str, Any]) -> dict[str, Any]:
    """Take what a worker measured; keep and note what it wrote in a state folder elsewhere."""
    found = dict(answer)
    record, theirs = found.pop("record"), found.pop("key")
    if record["status"] == "ok":
        key = cell_key(bench, cell)
        _require_same_key(key, theirs, record["title"])
        # Also of one that the worker had kept: this installation has not seen it.
        if "sealed" in record:
            note_look(bench, key, record["title"])
        keep_cell(bench, cell, record)
    bench.records[found["id"]] = record
    return found


def _require_same_key(ours: Mapping[str, Any], theirs: Mapping[str, Any], title: str) -> None:
    names = [n for n in ours if digest_json(ours[n]) != digest_json(theirs.get(n))]
    if names:
        shown = ", ".join(f"{name} {theirs.get(name)!r} for {ours[name]!r}" for name in names)
        raise AutopruneError(
            f"{title}: a worker measured with {shown}, so its figure does not belong here; use "
            "machines of one kind, or name --device and --precision float32"
        )
