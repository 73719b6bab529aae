"""What each way to propose is worth: arms of a search at equal evaluations, several seeds.

Each cell (arm and seed) is a search folder of its own under ``--folder``: a cell that was cut off
goes on where it stopped, a finished one is only read. Cells of one seed share data, starts and
budget, so differences are paired by seed; intervals are Student's at 95 %. ``--evaluations`` gives
each arm so many distinct recipes measured whole, ``--seconds`` the same time instead; baselines are
outside of the former and inside of the latter. ``--runs`` reads searches that were made elsewhere.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from autoprune.models.reference import DEMO_MODEL
from autoprune.search.paired import Difference, paired_difference
from autoprune.search.spec import Budget, DesignerSpec, SearchSpec
from autoprune.search_settings import SILENT_ARMS, Arm
from benchmarks.measured import OUT
from benchmarks.searching import is_finished, read_search, run_search
from benchmarks.table import corrected_changes, publish

ARMS: tuple[Arm, ...] = get_args(Arm)
# No composed repair: what joins two of them has to be found.
SOLVERS = ("none", "sparsegpt", "mrp", "mrp:select=own", "walk:mrp")
Cell = dict[str, Any]
Cells = Mapping[tuple[str, int], Cell]


def main() -> None:
    """Run the cells that are missing, seed by seed, and print all that are there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--against", choices=ARMS, default="list", help="what the others contrast")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--evaluations", type=int, default=24, help="of one cell")
    parser.add_argument("--seconds", type=float, help="of work in one cell, not evaluations")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--designer", default="local", help="kind of designer that is asked")
    parser.add_argument("--designer-model", help="its model")
    parser.add_argument("--base-url", help="address of its endpoint")
    parser.add_argument("--prompt-tokens", type=int, default=768)
    parser.add_argument("--no-hints", action="store_true", help="no written ideas in questions")
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS))
    parser.add_argument("--hide", nargs="+", default=[], help="components that no arm may use")
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--samples", type=int, default=8, help="calibration windows")
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--windows", type=int, default=8, help="selection windows")
    parser.add_argument("--sealed", type=int, default=100, help="sealed windows")
    parser.add_argument("--folder", type=Path, default=OUT / "arms")
    parser.add_argument(
        "--only-read", action="store_true", help="run nothing, print finished cells"
    )
    parser.add_argument("--runs", type=Path, nargs="+", help="folders of searches to read instead")
    args = parser.parse_args()
    cells = _read(args.runs) if args.runs else _made(args)
    if not cells:
        raise SystemExit("no cell is finished; run without --only-read")
    present = [arm for arm in ARMS if any(name == arm for name, _ in cells)]
    rows = [row_of(arm, cells, args.against) for arm in present]
    correct(rows, args.against)
    limit = f"{args.seconds:g} s" if args.seconds else f"{args.evaluations} evaluations"
    title = f"{args.sparsity:.0%} sparsity, {limit} each, {len({s for _, s in cells})} seeds"
    title = f"{len(cells)} searches" if args.runs else title
    runs = [{"arm": arm, "seed": seed, **cell} for (arm, seed), cell in cells.items()]
    publish("arms", title, rows, runs=runs)
    draw(OUT / "arms.png", cells)


def _made(args: argparse.Namespace) -> dict[tuple[str, int], Cell]:
    cells: dict[tuple[str, int], Cell] = {}
    for seed in args.seeds:
        for arm in args.arms:
            folder = args.folder / f"{arm}-{seed}"
            if args.only_read and not is_finished(folder):
                continue
            print(f"cell {folder.name}", file=sys.stderr, flush=True)
            cells[arm, seed] = run_search(folder, spec_of(arm, seed, args))
    return cells


def _read(folders: Sequence[Path]) -> dict[tuple[str, int], Cell]:
    cells: dict[tuple[str, int], Cell] = {}
    for folder in folders:
        cell = read_search(folder)
        place = (cell["arm"], cell["seed"])
        if place in cells:
            raise SystemExit(
                f"{folder} is another search of the arm {place[0]} with seed {place[1]}; name one"
            )
        cells[place] = cell
    return cells


def spec_of(arm: Arm, seed: int, args: argparse.Namespace) -> SearchSpec:
    """One cell's search; cells of a seed differ in who proposes only."""
    silent = arm in SILENT_ARMS
    asked = {"kind": args.designer, "model": args.designer_model, "base_url": args.base_url}
    designer = DesignerSpec(
        **({} if silent else asked), prompt_tokens=args.prompt_tokens, hints=not args.no_hints
    )
    limit = {"seconds": args.seconds} if args.seconds else {"evaluations": args.evaluations}
    if args.seconds:
        limit["candidates"] = 100_000
    return SearchSpec(
        model=args.model,
        corpus=args.corpus,
        sparsity=args.sparsity,
        arm=arm,
        hide=tuple(args.hide),
        designer=designer,
        budget=Budget(**limit),
        seed=seed,
        text_split=seed,
        calibration_windows=args.samples,
        seqlen=args.seqlen,
        rung_windows=2,
        selection_windows=args.windows,
        sealed_windows=args.sealed,
        solvers=tuple(args.solvers),
        sentinel_every=0,
    )


def row_of(arm: str, cells: Cells, against: str) -> dict[str, Any]:
    """One arm over its seeds; perplexities as shares of Wanda's on the same text."""
    own = {seed: cell for (name, seed), cell in cells.items() if name == arm}
    row: dict[str, Any] = {"arm": arm, "cells": len(own)}
    for part in ("selection", "sealed"):
        found = {s: ratio(c, part) for s, c in own.items()}
        values = [value for value in found.values() if value is not None]
        row[f"{part} / Wanda"] = interval(values)
    other = {s: c for (name, s), c in cells.items() if name == against}
    shared = [s for s in own if s in other and arm != against]
    pairs = [(ratio(own[s], "sealed"), ratio(other[s], "sealed")) for s in shared]
    known = [(math.log(a), math.log(b)) for a, b in pairs if a and b]
    row[f"sealed against {against}"] = contrast(known) if known else None
    made = sum(cell["evaluations"] for cell in own.values())
    better = sum(cell["breakthroughs"] for cell in own.values())
    row["evaluations"] = mean([c["evaluations"] for c in own.values()])
    row["breakthroughs"] = f"{better / made:.1%}" if made else "-"
    row["duplicates"] = mean([c["duplicates"] for c in own.values()])
    row["rejected"] = mean([c["rejected"] for c in own.values()])
    row["tokens"] = mean([c["tokens"] for c in own.values()])
    row["answer s"] = mean([c["answer_seconds"] for c in own.values()])
    row["all s"] = mean([c["seconds"] for c in own.values()])
    graded = [c["forecasts"] for c in own.values() if c["forecasts"]]
    hits, base, count = (sum(f[key] for f in graded) for key in ("hits", "base", "graded"))
    row["forecasts"] = f"{hits / count:.0%} (base {base / count:.0%})" if count else "-"
    return row


def ratio(cell: Mapping[str, Any], part: str) -> float | None:
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


def contrast(pairs: Sequence[tuple[float, float]]) -> Difference:
    """Mean change of perplexity over the other arm's; above 0: the other is better."""
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs])


def correct(rows: Sequence[dict[str, Any]], against: str) -> None:
    """Put each contrast into words, its p corrected over all arms by Holm's steps."""
    name = f"sealed against {against}"
    changes = iter(corrected_changes([row[name] for row in rows if row[name] is not None]))
    for row in rows:
        row[name] = "-" if row[name] is None else next(changes)


def mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """Mean over seeds after each evaluation; a search that ended keeps its best."""
    longest = max(map(len, curves))
    filled = [[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves]
    return [math.fsum(values) / len(values) for values in zip(*filled, strict=True)]


def draw(path: Path, cells: Cells) -> None:
    """Best so far over evaluations on selection text, mean over seeds, one line for each arm."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for arm in ARMS:
        curves = [cell["curve"] for (name, _), cell in cells.items() if name == arm]
        if curves:
            shares = [math.exp(value) for value in mean_curve(curves)]
            axes.step(range(len(shares)), shares, where="post", label=arm)
    axes.set_xlabel("recipes measured on all selection windows")
    axes.set_ylabel("perplexity of the best so far / Wanda")
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def mean(values: Sequence[float]) -> float:
    """Plain mean."""
    return sum(values) / len(values) if values else 0.0
