"""What each way to propose is worth: arms of a search at equal evaluations, several seeds.

Each cell (arm and seed) is a search folder of its own under ``--folder``: a cell that was cut off
goes on where it stopped, a finished one is only read. Cells of one seed share data, starts and
budget, so differences are paired by seed; intervals are Student's at 95 %. ``--evaluations`` gives
each arm so many distinct recipes measured whole, ``--seconds`` the same time instead; baselines are
outside of the former and inside of the latter. ``--schemes`` searches smaller models in place of
recipes, as ``--schemes width:rates=ramp`` rates by block. ``--runs`` reads searches that were made
elsewhere, ``--record DIR`` keeps what came out of them with their logs, and ``--from DIR ...``
makes the same tables of such records.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from autoprune.models.reference import DEMO_MODEL
from autoprune.search.export import read_events
from autoprune.search.search import LOG_FILE
from autoprune.search.spec import DesignerSpec, SearchBudget, SearchSpec
from autoprune.search_settings import SILENT_ARMS, Arm
from autoprune.storage import atomic_file
from benchmarks.arms_table import contrasts, draw, sentences, table_of
from benchmarks.evidence.records import SEARCHES, read_searches
from benchmarks.evidence.writing import write_record
from benchmarks.measured import OUT
from benchmarks.searching import JUDGED, is_finished, read_search, run_search
from benchmarks.table import publish
from tasks.state import without_machine_paths

ARMS: tuple[Arm, ...] = get_args(Arm)
# Searches that were made elsewhere may also have judged before they measured.
READ: tuple[str, ...] = (*ARMS, *(arm + JUDGED for arm in ARMS))
# No composed repair: what joins two of them has to be found.
REPAIRS = ("none", "sparsegpt", "mrp", "mrp:select=own", "walk:mrp")
Cell = dict[str, Any]
Cells = dict[tuple[str, int], Cell]


def main() -> None:
    """Run the cells that are missing, seed by seed, and print all that are there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--subject", choices=READ, default="graph", help="whose contrasts count")
    parser.add_argument(
        "--rivals",
        nargs="+",
        default=[*ARMS],
        help="arms that it is compared with; A,B: the better of both by mean",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--evaluations", type=int, default=24, help="of one cell")
    parser.add_argument("--seconds", type=float, help="of work in one cell, not evaluations")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--designer", default="local", help="kind of designer that is asked")
    parser.add_argument("--designer-model", help="its model")
    parser.add_argument("--base-url", help="address of its endpoint")
    parser.add_argument("--prompt-tokens", type=int, default=768)
    parser.add_argument("--no-hints", action="store_true", help="no written ideas in questions")
    parser.add_argument("--repairs", nargs="+", help="default: usual ones; none with --schemes")
    parser.add_argument(
        "--schemes", nargs="+", default=[], help="search these families; the first is the reference"
    )
    parser.add_argument("--hide", nargs="+", default=[], help="components that no arm may use")
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--calibration-windows", type=int, default=8)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--selection-windows", type=int, default=8)
    parser.add_argument("--sealed-windows", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=OUT / "arms")
    parser.add_argument(
        "--only-read", action="store_true", help="run nothing, print finished cells"
    )
    parser.add_argument("--runs", type=Path, nargs="+", help="folders of searches to read instead")
    parser.add_argument(
        "--from", type=Path, nargs="+", dest="sources", help="records to read instead, together"
    )
    parser.add_argument("--record", type=Path, help="with --runs: keep results and logs here")
    args = parser.parse_args()
    if unknown := {name for names in args.rivals for name in names.split(",")} - {*READ}:
        parser.error(f"--rivals {', '.join(sorted(unknown))}: no arm; there are {', '.join(READ)}")
    if args.record and not args.runs:
        parser.error("--record keeps searches that --runs names")
    cells = _cells(args)
    if not cells:
        raise SystemExit("no cell is finished; run without --only-read")
    if args.record:
        _keep(args.record, args.runs, cells)
    limit = f"{args.seconds:g} s" if args.seconds else f"{args.evaluations} evaluations"
    less = "fewer parameters in blocks" if args.schemes else "sparsity"
    title = f"{args.sparsity:.0%} {less}, {limit} each, {len({s for _, s in cells})} seeds"
    title = f"{len(cells)} searches" if args.runs or args.sources else title
    found = contrasts(cells, args.subject, args.rivals)
    rows = table_of(cells, READ, args.subject, found)
    runs = [{"arm": arm, "seed": seed, **cell} for (arm, seed), cell in cells.items()]
    publish("arms", title, rows, runs=runs)
    for line in sentences(found, args.subject):
        print(line)
    draw(OUT / "arms.png", cells, READ)


def _cells(args: argparse.Namespace) -> Cells:
    if args.sources:
        return read_searches(*args.sources)
    return _read(args.runs) if args.runs else _made(args)


def _keep(folder: Path, runs: Sequence[Path], cells: Cells) -> None:
    """Write the results, and each search's events with questions and answers beside them."""
    names: list[str] = []
    for place, run in zip(cells, runs, strict=True):
        lines = (json.dumps(vars(event), sort_keys=True) for event in read_events(run / LOG_FILE))
        text = without_machine_paths("".join(f"{line}\n" for line in lines), run.parent.parent)
        # Without a time of writing, so that the same log gives the same bytes.
        names.append(f"logs/{place[0]}-{place[1]}.jsonl.gz")
        with atomic_file(folder / names[-1]) as file:
            file.write_bytes(gzip.compress(text.encode(), mtime=0))
    write_record(
        folder,
        SEARCHES,
        "python -m benchmarks arms --runs FOLDERS",
        ("searches.json", {"searches": list(cells.values())}),
        ("--runs",),
        beside=names,
    )


def _made(args: argparse.Namespace) -> Cells:
    cells: Cells = {}
    for seed in args.seeds:
        for arm in args.arms:
            folder = args.folder / f"{arm}-{seed}"
            if args.only_read and not is_finished(folder):
                continue
            print(f"cell {folder.name}", file=sys.stderr, flush=True)
            cells[arm, seed] = run_search(folder, spec_of(arm, seed, args))
    return cells


def _read(folders: Sequence[Path]) -> Cells:
    cells: Cells = {}
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
    usual = ["none"] if args.schemes else REPAIRS
    return SearchSpec(
        model=args.model,
        corpus=args.corpus,
        sparsity=args.sparsity,
        arm=arm,
        hide=tuple(args.hide),
        designer=designer,
        budget=SearchBudget(**limit),
        seed=seed,
        text_split=seed,
        calibration_windows=args.calibration_windows,
        seqlen=args.seqlen,
        rung_windows=2,
        selection_windows=args.selection_windows,
        sealed_windows=args.sealed_windows,
        repair_choices=tuple(args.repairs or usual),
        schemes=tuple(args.schemes),
        sentinel_every=0,
    )
