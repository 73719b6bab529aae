"""Bytes and seconds of a compact checkpoint against the dense one and against gzip.

The demo model, a share of every matrix set to zero by magnitude, saved in bfloat16. gzip is that of
Python, at the level of its command line; all on one core.
"""

import argparse
import gzip
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from autoprune.checkpoint.compact import expand_compact, require_equal, write_compact
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.saving import save_model
from autoprune.pruning import MetricScore, PruningPlan, prune
from benchmarks.table import Goal, publish

LARGEST_SHARE = 0.6


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEMO_MODEL, help="model reference")
    parser.add_argument("--sparsity", type=float, default=0.6, help="share of zeros (default 0.6)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autoprune-compact-") as scratch:
        rows = measure(options.model, options.sparsity, Path(scratch))
    dense, bitmask, zipped = rows[0], rows[1], rows[-1]
    goals = [
        Goal("bytes of the bitmask form per dense byte", bitmask["ratio"], LARGEST_SHARE),
        Goal("seconds to write it per second of gzip", bitmask["write_s"] / zipped["write_s"], 1.0),
    ]
    title = f"Compact checkpoint: {options.sparsity:.0%} zeros, bfloat16, {dense['bytes']} bytes"
    publish("compact", title, rows, goals, model=options.model)


def measure(model: str, sparsity: float, scratch: Path) -> list[dict[str, Any]]:
    """One row for the dense folder, one per encoding, one for gzip."""
    dense = scratch / "dense"
    loaded = load_model(model, dtype=torch.bfloat16)
    plan = PruningPlan.build(sparsity)
    prune(loaded.model, MetricScore(build_metric("magnitude")), plan)
    begin = time.perf_counter()
    saved = save_model(loaded.model, loaded.tokenizer, dense, {})
    seconds = time.perf_counter() - begin
    size = sum(path.stat().st_size for path in dense.glob("*.safetensors"))
    rows = [_row(f"dense, {saved.zeros.sparsity:.1%} of matrices zero", size, 1.0, seconds, "-")]
    for encoding in ("bitmask", "csr"):
        made = write_compact(dense, scratch / encoding, encoding=encoding)
        compared = require_equal(dense, scratch / encoding)
        begin = time.perf_counter()
        expand_compact(scratch / encoding, scratch / "back", overwrite=True)
        back = time.perf_counter() - begin
        note = f"{compared} of {made.tensors} equal to the bit"
        rows.append(_row(encoding, made.compact_bytes, made.ratio, made.seconds, note, back))
    begin = time.perf_counter()
    zipped = 0
    for path in dense.glob("*.safetensors"):
        target = scratch / f"{path.name}.gz"
        with path.open("rb") as source, gzip.open(target, "wb", compresslevel=6) as sink:
            shutil.copyfileobj(source, sink, 1 << 22)
        zipped += target.stat().st_size
    rows.append(_row("gzip -6", zipped, zipped / size, time.perf_counter() - begin, "-"))
    return rows


def _row(
    what: str, size: int, ratio: float, write: float, equal: str, back: float | None = None
) -> dict[str, Any]:
    return {
        "form": what, "bytes": f"{size:,}", "ratio": ratio, "write_s": write,
        "read_back_s": "-" if back is None else back, "check": equal,
    }  # fmt: skip
