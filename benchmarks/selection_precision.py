"""What bfloat16 products change where a search measures: losses, differences, order and work.

The same masks are measured on the same selection windows in float32 and with products rounded to
bfloat16, as a search does where the processor is fast with them (`--precision`). A search chooses
by differences between recipes on common windows, so what matters is how far these move.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from autoprune.bench.bench import Bench
from autoprune.bench.text import SELECTION
from autoprune.models.reference import DEMO_MODEL
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.table import publish
from benchmarks.throughput import candidates

NAME = "selection_precision"
COMMAND = f"python -m benchmarks {NAME}"
REFERENCE = "wanda"
TYPES = {"float32": None, "bfloat16": torch.bfloat16}

Losses = Mapping[str, Sequence[float]]


def main() -> None:
    """Measure recipes in both types, compare, publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--recipes", type=int, default=12, help="in addition to the reference")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--calibration-windows", type=int, default=8)
    parser.add_argument("--selection-windows", type=int, default=12)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--record", type=Path, help="folder to keep the counts in, as evidence")
    args = parser.parse_args()
    recipes = {REFERENCE: REFERENCE} | {str(n): r for n, r in enumerate(candidates(args.recipes))}
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in TYPES}
    seconds = dict.fromkeys(TYPES, 0.0)
    sizes = {key: getattr(args, key) for key in ("calibration_windows", "selection_windows")}
    with Bench.open(args.model, corpus=args.corpus, seqlen=args.seqlen, **sizes) as bench:
        for name, recipe in recipes.items():
            with bench.pruned(recipe, args.sparsity):
                for kind, products in TYPES.items():
                    bench.products = products
                    started = time.process_time()
                    found[kind][name] = list(bench.evaluate(SELECTION).nll)
                    seconds[kind] += time.process_time() - started
            print(f"{len(found['bfloat16'])} of {len(recipes)}", file=sys.stderr, flush=True)
    counts = compared(found["float32"], found["bfloat16"])
    counts["processor_seconds_ratio"] = seconds["float32"] / seconds["bfloat16"]
    title = (
        f"{len(recipes)} recipes at {args.sparsity:.0%} on {args.selection_windows} x {args.seqlen}"
        f" tokens of the selection part, bfloat16 products against float32; {Path(args.model).name}"
    )
    rows = [{"figure": name.replace("_", " "), "value": value} for name, value in counts.items()]
    publish(NAME, title, rows, counts=counts | {"losses": found})
    if args.record:
        data = ("counts.json", counts | {"losses": found})
        write_record(args.record, COUNTS, COMMAND, data, ("--model", "--corpus"))


def compared(plain: Losses, rounded: Losses) -> dict[str, Any]:
    """What rounding moves.

    Args:
        plain: Losses of each window by recipe, nats per token, in float32; the reference is first.
        rounded: The same with rounded products.

    Returns:
        In nats per token, ``largest_window`` and ``mean_shift`` of losses; in percent of
        perplexity, ``largest_change`` and ``deviation`` of a recipe's change against the
        reference; ``pairs`` of recipes, and how many are ``turned``: the other one is ahead; in
        percent, ``largest_turned``: how far apart two such recipes are in float32.
    """
    moved = [b - a for name in plain for a, b in zip(plain[name], rounded[name], strict=True)]
    changes = [_versus(rounded, name) - _versus(plain, name) for name in list(plain)[1:]]
    pairs, both = list(combinations(plain, 2)), (plain, rounded)
    before, after = ([fmean(found[a]) - fmean(found[b]) for a, b in pairs] for found in both)
    turned = [abs(x) for x, y in zip(before, after, strict=True) if x * y < 0]
    return {
        "recipes": len(plain),
        "largest_window": max(map(abs, moved)),
        "mean_shift": fmean(moved),
        "largest_change": 100 * math.expm1(max(map(abs, changes))),
        "deviation": 100 * math.sqrt(fmean([change**2 for change in changes])),
        "pairs": len(pairs),
        "turned": len(turned),
        "largest_turned": 100 * math.expm1(max(turned, default=0.0)),
    }


def _versus(losses: Losses, name: str) -> float:
    """Log ratio of perplexity to the reference."""
    return fmean(losses[name]) - fmean(next(iter(losses.values())))


if __name__ == "__main__":
    main()
