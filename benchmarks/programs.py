"""How well a search's first figures of a program foretell the whole model's loss.

The catalogue with other numbers, by row and by matrix: each program is validated as a search would
(new weights of the first, middle and last block, their error on calibration windows that it did not
see), prunes the whole model with a quarter of the calibration windows, as on a search's first rung,
and then with all of them. ``--log FOLDER`` reads error and loss of the programs of a search
instead, and measures nothing.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autoprune import Bench, Recipe
from autoprune.bench.outcomes import Measurement
from autoprune.bench.program_limits import limits_of
from autoprune.bench.text import CALIBRATION
from autoprune.candidate import Candidate
from autoprune.models.reference import DEMO_MODEL
from autoprune.program_files import PROGRAM_PREFIX, catalogue, prunes_blocks
from autoprune.search.paired import rank_correlation
from autoprune.search_settings import SearchSettings
from benchmarks.known_log import read_log
from benchmarks.table import publish
from tasks.programs import SandboxPrograms

# Other values of a program's numbers, one at a time.
VARIANTS: dict[str, dict[str, tuple[float, ...]]] = {
    "alps": {"damp": (0.1,), "iterations": (50,)},
    "dsnot": {"cycles": (5,)},
    "ebft": {"epochs": (1, 2), "rate": (0.003, 0.03)},
    "mrp": {"damp": (0.001, 0.1)},
    "ria": {"exponent": (0.0, 1.0)},
    "sparsegpt": {"damp": (0.001, 0.1), "columns": (16,)},
    "sparsegpt_ebft": {"epochs": (1,), "rate": (0.003,)},
}
GROUPS = ("row", "matrix")
# Behind the name of a correlation: that of the first rung's loss.
FIRST = ", first rung"


def main() -> None:
    """Validate and measure every program, and print how the two orders agree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--corpus", default="wikipedia-sample")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--calibration-windows", type=int, default=16)
    parser.add_argument("--selection-windows", type=int, default=10)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--first", type=int, help="only so many programs")
    parser.add_argument("--only", help="names of programs, separated by commas, as they are")
    parser.add_argument("--log", type=Path, help="folder of a search to read instead")
    args = parser.parse_args()
    rows = searched(args.log) if args.log else _validated(args)
    found = agreement(rows)
    shown = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    where = f"of {args.log.name}" if args.log else f"at {args.sparsity:.0%}"
    title = f"{len(rows)} programs {where}, rank correlation: {shown or 'none'}"
    publish("programs", title, rows, results=[found])


def searched(folder: Path) -> list[dict[str, Any]]:
    """The same rows of every program that a search measured whole, in the order of their design.

    A program of the model's that was better than all before it has a mark.
    """
    rows = []
    best = math.inf
    for entry in read_log(folder).archive:
        made = entry.results.get(2)
        validation = entry.validation
        recipe = entry.recipe
        if recipe is None or recipe.metric.kind != "program" or entry.duplicate_of:
            continue
        if made is None or validation is None or validation.reconstruction_error is None:
            continue
        row = _row(entry.alias, recipe)
        row |= {"three blocks": validation.reconstruction_error, "s": validation.seconds}
        loss = sum(made.nll) / len(made.nll)
        found = loss < best
        best = min(loss, best)
        row |= {"loss": loss, "s, whole": made.seconds, "new best": "*" if found else ""}
        rows.append(row)
    return rows


def _validated(args: argparse.Namespace) -> list[dict[str, Any]]:
    with (
        TemporaryDirectory() as folder,
        SandboxPrograms(Path(folder), "benchmark") as runner,
        Bench.open(
            args.model,
            corpus=args.corpus,
            seqlen=args.seqlen,
            calibration_windows=args.calibration_windows,
            selection_windows=args.selection_windows,
            sealed_windows=1,
            programs=runner,
        ) as bench,
    ):
        whole = limits_of(bench.layers, args.calibration_windows, args.seqlen)
        # Three blocks are pruned in one call.
        runner.limits = lambda: type(whole)(3 * whole.seconds, whole.memory_bytes)
        return measured(bench, args.sparsity, _chosen(args))


def _chosen(args: argparse.Namespace) -> list[tuple[str, Recipe]]:
    if not args.only:
        return list(recipes())[: args.first]
    wanted = [f"{name.strip()} {GROUPS[0]}" for name in args.only.split(",")]
    return [(title, recipe) for title, recipe in recipes() if title in wanted]


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Every program of the catalogue, as it is and with other numbers, in both groups."""
    for name in catalogue():
        known = Candidate.parse(PROGRAM_PREFIX + name)
        variants: list[dict[str, float]] = [{}]
        variants += [{key: v} for key, vs in VARIANTS.get(name, {}).items() for v in vs]
        for group in GROUPS:
            for change in variants:
                program = Candidate("program", known.source, {**known.params, **change})
                numbers = "".join(f" {key}={value:g}" for key, value in change.items())
                title = f"{name} {group}{numbers}"
                yield title, Recipe(program, group)  # type: ignore[arg-type]


def measured(
    bench: Bench, sparsity: float, programs: list[tuple[str, Recipe]]
) -> list[dict[str, Any]]:
    """Of each program the error of three blocks, the first rung's loss, the loss; and seconds."""
    rows = []
    for title, recipe in programs:
        row = _row(title, recipe)
        probed = bench.validate(recipe, sparsity)
        row |= {"three blocks": probed.reconstruction_error, "s": probed.seconds}
        if probed.ok:
            size = bench.text.counts[CALIBRATION]
            few = SearchSettings(language="program", calibration_windows=size)
            windows = slice(few.rung_windows)
            first = bench.measure(recipe, sparsity, windows, calibration=few.first_calibration)
            row |= {"first loss": _loss(first), "s, first": first.seconds}
            made = bench.measure(recipe, sparsity)
            row |= {"loss": _loss(made), "s, whole": made.seconds}
            rows.append(row)
        print(title, probed.code, row, file=sys.stderr, flush=True)
    return rows


def _loss(found: Measurement) -> float:
    return sum(found.nll) / len(found.nll)


def _row(title: str, recipe: Recipe) -> dict[str, Any]:
    form = "block" if prunes_blocks(recipe.metric.source) else "layer"
    return {"program": title, "form": form}


def agreement(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How the three blocks' error, and the loss of the first rung, rank as the loss does.

    Spearman's correlations over all programs, and over those of each form.
    """
    found = {}
    for name in ("all", "layer", "block"):
        own = [row for row in rows if name in ("all", row["form"])]
        pairs = [row["three blocks"] for row in own], [row["loss"] for row in own]
        value = rank_correlation(pairs)
        if value is not None:
            found[name] = value
        first = [row["first loss"] for row in own if "first loss" in row]
        value = rank_correlation((first, pairs[1])) if len(first) == len(own) else None
        if value is not None:
            found[name + FIRST] = value
    return found
