"""What the reasoning graph is worth: five ways to search, equal budget, several seeds.

``gcot`` is the whole system; ``none`` is all of it but the LLM; ``list`` asks the same LLM for
whole recipes and shows it past results only; ``genetic`` mutates and crosses in the same language;
``random`` draws from it. Each cell (method and seed) is a search folder of its own under
``--folder``: a cell that was cut off goes on where it stopped, a finished one is only read. Methods
of one seed share data, baselines and budget, so differences are paired by seed; intervals are
Student's at 95 %.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoprune.design.kinds import SILENT
from autoprune.models.reference import DEMO_MODEL
from autoprune.search.paired import Difference, paired_difference
from autoprune.search.spec import Budget, DesignerSpec, RecipeSpec, SearchSpec
from benchmarks.measured import OUT
from benchmarks.searching import is_finished, run_search
from benchmarks.table import corrected_changes, publish

METHODS = ("gcot", "none", "list", "genetic", "random")
BASELINES = (
    RecipeSpec(metric="wanda"),
    RecipeSpec(metric="wanda", allocation="ramp"),
    RecipeSpec(metric="wanda", allocation="ramp", solver="sparsegpt"),
)


def main() -> None:
    """Run the cells that are missing, seed by seed, and print all that are there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=270.0, help="of work in one cell")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--designer", default="local", help="kind of designer that is asked")
    parser.add_argument("--solvers", nargs="+", default=["none", "sparsegpt"])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--samples", type=int, default=8, help="calibration windows")
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=OUT / "ablation")
    parser.add_argument(
        "--only-read", action="store_true", help="run nothing, print finished cells"
    )
    args = parser.parse_args()
    cells: dict[tuple[str, int], dict[str, Any]] = {}
    for seed in args.seeds:
        for method in args.methods:
            folder = args.folder / f"{method}-{seed}"
            if args.only_read and not is_finished(folder):
                continue
            print(f"cell {folder.name}", file=sys.stderr, flush=True)
            cells[method, seed] = run_search(folder, spec_of(method, seed, args))
    if not cells:
        raise SystemExit("no cell is finished; run without --only-read")
    title = (
        f"{args.sparsity:.0%} sparsity, at most {args.candidates} candidates and "
        f"{args.seconds:g} s, {len(args.seeds)} seeds"
    )
    rows = [row_of(method, cells) for method in args.methods if any(m == method for m, _ in cells)]
    correct(rows)
    runs = [{"method": method, "seed": seed, **cell} for (method, seed), cell in cells.items()]
    publish("ablation", title, rows, runs=runs)


def spec_of(method: str, seed: int, args: argparse.Namespace) -> SearchSpec:
    """One cell's search; cells of a seed differ in who proposes only."""
    designer = DesignerSpec(
        kind=method if method in SILENT else args.designer,
        context="list" if method == "list" else "graph",
    )
    return SearchSpec(
        model=args.model,
        corpus=args.corpus,
        sparsity=args.sparsity,
        designer=designer,
        budget=Budget(candidates=args.candidates, seconds=args.seconds),
        seed=seed,
        text_split=seed,
        calibration_windows=args.samples,
        seqlen=args.seqlen,
        rung_windows=2,
        selection_windows=6,
        sealed_windows=8,
        solvers=tuple(args.solvers),
        baselines=tuple(b for b in BASELINES if b.solver is None or b.solver in args.solvers),
        sentinel_every=0,
        # A mutation in a duplicate's place would be the search's work, not the designer's.
        replace_duplicates=method != "list",
    )


def row_of(method: str, cells: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    """One method over its seeds; perplexities as shares of Wanda's on the same text."""
    own = {seed: cell for (name, seed), cell in cells.items() if name == method}
    row: dict[str, Any] = {"method": method, "cells": len(own)}
    for part in ("selection", "sealed"):
        found = {s: ratio(c, part) for s, c in own.items()}
        values = [value for value in found.values() if value is not None]
        row[f"{part} / Wanda"] = interval(values)
    other = {s: c for (name, s), c in cells.items() if name == "gcot"}
    shared = [s for s in own if s in other and method != "gcot"]
    pairs = [(ratio(own[s], "sealed"), ratio(other[s], "sealed")) for s in shared]
    known = [(math.log(a), math.log(b)) for a, b in pairs if a and b]
    row["sealed against gcot"] = against(known) if known else None
    row["candidates"] = mean([c["candidates"] for c in own.values()])
    row["duplicates"] = mean([c["duplicates"] for c in own.values()])
    row["answers"] = mean([c["answers"] for c in own.values()])
    row["answer s"] = mean([c["answer_seconds"] for c in own.values()])
    row["all s"] = mean([c["seconds"] for c in own.values()])
    return row


def ratio(cell: dict[str, Any], part: str) -> float | None:
    """Perplexity of the best by Wanda's; 1 where nothing beat it, None where one has none."""
    base = cell[f"reference_{part}"]
    if base is None or (cell["best"] is not None and cell[part] is None):
        return None
    return float((cell[part] or base) / base)


def interval(values: Sequence[float]) -> str:
    """Geometric mean with its 95 % interval."""
    if not values:
        return "-"
    found = paired_difference([math.log(v) for v in values], [0.0] * len(values))
    centre = f"{math.exp(found.mean):.3f}"
    if found.windows < 2:
        return centre
    return f"{centre} [{math.exp(found.low):.3f}, {math.exp(found.high):.3f}]"


def against(pairs: Sequence[tuple[float, float]]) -> Difference:
    """Mean change of perplexity over gcot's with its interval; above 0: gcot is better."""
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs])


def correct(rows: Sequence[dict[str, Any]]) -> None:
    """Put each change against gcot into words, its p corrected over all methods by Holm's steps."""
    name = "sealed against gcot"
    changes = iter(corrected_changes([row[name] for row in rows if row[name] is not None]))
    for row in rows:
        row[name] = "-" if row[name] is None else next(changes)


def mean(values: Sequence[float]) -> float:
    """Plain mean."""
    return sum(values) / len(values) if values else 0.0
